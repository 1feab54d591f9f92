"""The module and its panel: start, devices, log, keys, settings, sample data, self-test."""

import sys

import pytest
from panel import MODULE, ROOT, head, run_python, sample_file

# ------------------------------------------------------------------------------------- import


def test_importing_the_module_loads_no_third_party_package():
    loaded = run_python(
        "import numpy  # bundled with Slicer\n"
        f"before = set(sys.modules); sys.path.insert(0, {str(MODULE.parent)!r})\n"
        "import MambaSynth\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names) - {'numpy'}))"
    )
    assert loaded == "['MambaSynth', 'MambaSynthLib', 'MambaSynthSlicer']"


def test_the_library_is_found_in_a_source_checkout():
    folder = run_python(
        f"sys.path.insert(0, {str(MODULE.parent)!r})\n"
        "import MambaSynth, MambaSynthLib; print(MambaSynthLib.__file__)"
    )
    assert folder == str(ROOT / "MambaSynthLib" / "__init__.py")


# -------------------------------------------------------------------------- devices, log, keys


def test_devices_are_listed_when_advanced_is_opened_and_the_choice_reaches_the_engine(panel):
    assert panel.ui.deviceComboBox.count == 1
    panel.ui.advancedSection.collapsed = False
    panel.wait(lambda: panel.ui.deviceComboBox.count == 3)
    panel.ui.deviceComboBox.currentIndex = 1
    assert panel.ui.deviceComboBox.currentText == "Fake GPU, 7.5 of 8.0 GB free"
    head()
    assert panel.synthesize().GetAttribute("MambaSynth.device") == "cuda:0"


def test_a_remembered_device_is_kept_before_and_after_the_devices_are_known(panel, scene):
    import qt

    qt.QSettings().setValue("MambaSynth/device", "cuda:0")
    scene.Clear(0)
    panel.events()
    assert panel.ui.deviceComboBox.currentData == "cuda:0"
    panel.ui.seedSpinBox.value = 1
    assert panel.widget.parameters.get("device") == "cuda:0"
    panel.ui.advancedSection.collapsed = False
    panel.wait(lambda: panel.ui.deviceComboBox.currentText.startswith("Fake GPU"))


def test_when_the_devices_cannot_be_listed_automatic_remains_and_polling_ends(panel):
    panel.worker.command = [sys.executable, "-c", "raise SystemExit(3)"]
    panel.ui.advancedSection.collapsed = False
    panel.wait(lambda: not panel.logic.listening)
    panel.worker.command = ["/no/such/python"]
    panel.ui.advancedSection.collapsed = True
    panel.ui.advancedSection.collapsed = False
    assert panel.ui.deviceComboBox.count == 1 and not panel.logic.listening


def test_the_log_shows_what_the_child_prints(panel):
    head()
    panel.synthesize("noisy")
    assert "this is not an event" in panel.ui.logText.toPlainText()


def test_ctrl_enter_starts_and_does_not_cancel(panel):
    head(shape=(8, 8, 100))
    panel.events()
    panel.choose_model("slow")
    shortcut = panel.widget.run._shortcuts[0]
    assert shortcut.key.toString() == "Ctrl+Return"
    shortcut.activated.emit()
    assert panel.logic.busy
    shortcut.activated.emit()
    assert panel.ui.applyButton.text == "Cancel"
    panel.ui.applyButton.click()
    panel.wait_idle()


def test_settings_are_remembered_for_the_next_scene_and_session(panel, scene, stand):
    import qt

    panel.ui.seedSpinBox.value = 42
    panel.ui.samplesSpinBox.value = 3
    panel.choose_model("slow")
    assert qt.QSettings().value("MambaSynth/seed") in (42, "42")
    scene.Clear(0)
    panel.events()
    assert panel.ui.seedSpinBox.value == 42 and panel.ui.samplesSpinBox.value == 3
    assert panel.ui.modelComboBox.currentData == "slow"


def test_a_setting_that_makes_no_sense_falls_back_to_its_default(panel, scene):
    import qt

    qt.QSettings().setValue("MambaSynth/seed", "many")
    scene.Clear(0)
    panel.events()
    assert panel.ui.seedSpinBox.value == 0


# ---------------------------------------------------------------------------------- sample data


@pytest.fixture
def sample(panel, tmp_path):
    """Slicer's server holds a head; what it is told to do is set on this."""
    from slicerstand import sample_data

    yield sample_data.serve(sample_file(tmp_path))
    sample_data.serve(None)


def test_one_click_loads_slicers_own_head_and_selects_it(panel, sample):
    head("other")
    panel.events()
    panel.ui.sampleButton.click()
    node = panel.ui.sourceSelector.currentNode()
    assert node.GetName() == "MRHead" and node.GetStorageNode() is None
    assert panel.ui.applyButton.enabled


def test_the_sample_is_asked_for_once_and_then_comes_from_slicers_cache(panel, sample):
    from slicerstand import sample_data

    panel.ui.sampleButton.click()
    sample.uri = sample_data.UNREACHABLE
    panel.ui.sampleButton.click()
    assert panel.stand.record.dialogs == []
    assert panel.ui.sourceSelector.currentNode().GetName().startswith("MRHead")


def no_network(sample):
    from slicerstand import sample_data

    sample.uri = sample_data.UNREACHABLE  # Slicer returns no node


def another_file(sample):
    sample.checksum = "SHA256:" + "1" * 64  # Slicer returns paths that do not exist


@pytest.mark.parametrize("trouble", [no_network, another_file])
def test_a_sample_that_cannot_be_downloaded_is_told_in_one_dialog(panel, sample, trouble):
    trouble(sample)
    panel.expect_dialog()
    panel.ui.sampleButton.click()
    (dialog,) = panel.stand.record.dialogs
    assert "MRHead could not be downloaded; check the network" in dialog.text
    assert panel.ui.sourceSelector.currentNode() is None


# ------------------------------------------------------------------------------------ self-test


def test_the_modules_own_test_passes(panel):
    import slicer

    slicer.selfTests["MambaSynth"]()
