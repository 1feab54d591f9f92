"""The stand-in's own rules for Qt objects: what Slicer's PythonQt does must hold here."""

import time

import pytest

pytestmark = pytest.mark.usefixtures("scene")


@pytest.fixture
def qt(stand):
    import qt

    return qt


def wait(qt, done, seconds=5.0):
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        qt.QApplication.processEvents()
    return done()


def test_properties_read_and_write_as_attributes_and_setters_stay(qt):
    label = qt.QLabel("a")
    label.text = "b"
    assert label.text == "b"
    label.setText("c")
    assert label.text == "c"
    label.text = 5
    assert label.text == "5"
    with pytest.raises(TypeError):
        label.text()


def test_numbers_are_converted_as_pythonqt_converts_them(qt):
    bar = qt.QProgressBar()
    bar.value = 5.9
    assert bar.value == 5
    box = qt.QDoubleSpinBox()
    box.value = 3
    assert box.value == 3.0


def test_a_property_with_a_virtual_getter_can_be_shown_and_read(qt):
    bar = qt.QProgressBar()
    bar.show()
    bar.value = 25
    assert bar.text == "25%"
    bar.hide()


def test_enumerated_properties_read_as_int(qt):
    slider = qt.QSlider()
    slider.orientation = qt.Qt.Horizontal
    assert slider.orientation == 1


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("tolTip", "x", "creating new attributes"),
        ("enabled", "yes", "does not accept"),
        ("click", print, "can not be overwritten"),
        ("clicked", print, "can not be overwritten"),
    ],
)
def test_a_typo_or_a_wrong_type_raises(qt, name, value, reason):
    with pytest.raises(AttributeError, match=reason):
        setattr(qt.QPushButton(), name, value)


def test_a_read_only_property_cannot_be_written(qt):
    with pytest.raises(AttributeError, match="not writable"):
        qt.QComboBox().count = 3


def test_python_subclasses_may_have_attributes_of_their_own(qt):
    class Own(qt.QWidget):
        pass

    widget = Own()
    widget.mine = 1
    assert widget.mine == 1


def test_slots_get_no_more_arguments_than_they_take(qt):
    button = qt.QPushButton()
    button.checkable = True
    got = []
    button.connect("clicked(bool)", lambda on: got.append(on))
    button.connect("clicked()", lambda: got.append("none"))
    button.connect("toggled(bool)", lambda: got.append("dropped"))
    button.click()
    assert sorted(map(str, got)) == ["True", "dropped", "none"]


@pytest.mark.parametrize("signal", ["klicked()", "clicked(int)"])
def test_connecting_a_signal_that_does_not_exist_raises(qt, signal):
    with pytest.raises(ValueError, match="does not exist"):
        qt.QPushButton().connect(signal, print)


def test_disconnect_ends_a_connection(qt):
    button, got = qt.QPushButton(), []
    slot = lambda: got.append(1)  # noqa: E731
    button.connect("clicked(bool)", slot)
    assert button.disconnect("clicked(bool)", slot)
    assert not button.disconnect("clicked(bool)", slot)
    button.click()
    assert got == []


def test_an_exception_in_a_slot_is_written_down_and_does_not_propagate(qt, stand):
    def fail():
        raise RuntimeError("boom")

    button = qt.QPushButton()
    button.connect("clicked(bool)", fail)
    button.click()
    assert str(stand.record.slot_errors.pop().error) == "boom"


def test_isinstance_follows_the_cpp_classes(qt):
    button = qt.QPushButton()
    assert isinstance(button, qt.QWidget) and not isinstance(button, qt.QLabel)
    button.name = "apply"
    assert button.objectName == "apply" and button.className() == "QPushButton"


def test_timers_fire(qt):
    got = []
    qt.QTimer.singleShot(0, lambda: got.append("static"))
    timer = qt.QTimer()
    timer.interval = 1
    timer.singleShot = True
    timer.connect("timeout()", lambda: got.append("own"))
    timer.start()
    assert wait(qt, lambda: len(got) == 2)


def test_a_modal_dialog_needs_a_prepared_answer_and_is_written_down(qt, stand):
    box = qt.QMessageBox()
    box.text = "sure?"
    with pytest.raises(RuntimeError, match="was not expected"):
        box.exec_()
    stand.record.answers.append(lambda dialog: qt.QMessageBox.Yes)
    assert box.exec_() == qt.QMessageBox.Yes
    assert stand.record.dialogs[-1].text == "sure?"


def test_file_dialogs_return_a_plain_string(qt, stand):
    stand.record.answers.append(lambda arguments: "/a/file")
    assert qt.QFileDialog.getOpenFileName(None, "Import") == "/a/file"
