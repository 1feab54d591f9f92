"""An engine on another computer, from the panel: who computes, what is asked for, what is told."""

import hearts
import numpy as np
import pytest
from panel import dialog_after, head, small_cine_package, small_package
from test_dependencies import installed, with_torch

TOKEN = "a token of more than twenty letters"
__all__ = ["installed"]  # a fixture


@pytest.fixture
def engine():
    """One with the fake engine behind."""
    from Testing.library.server.engines import Engine

    engine = Engine(megabytes=10)
    yield engine
    engine.listener.close()


@pytest.fixture
def token(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


@pytest.fixture
def remote(panel, engine, token, models):
    """The panel, which has typed in where the engine is, with real models to ask for."""
    pytest.importorskip("torch")
    small_package(models)
    small_cine_package(models)
    panel.worker.command = None  # the real child process
    panel.widget.models.fill()
    enter(panel, f"{engine.host}:{engine.port}", token)
    return panel


def fields(panel):
    """Those of the engine."""
    return panel.widget.remote.own


def enter(panel, address, token):
    for edit, text in (
        (fields(panel).engineEdit, address),
        (fields(panel).engineTokenEdit, str(token)),
    ):
        edit.text = text
        edit.editingFinished.emit()


def test_the_other_computer_computes_and_the_result_lies_in_the_scene(remote, engine):
    import slicer

    source = head("DOE^JANE")
    remote.events()
    output = remote.synthesize("small")
    array = slicer.util.arrayFromVolume(source)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(output), array.max() - array)
    assert output.GetName() == "DOE^JANE SYNTHETIC T2w"
    assert output.GetAttribute("MambaSynth.source_name") == "DOE^JANE"
    assert output.GetAttribute("MambaSynth.backend") == "numpy"  # the fake one's
    assert engine.process() is not None and remote.files_left() == []


def test_a_cine_is_computed_there_without_pytorch_here(remote, stand, installed):
    with_torch(installed, None)
    hearts.choose_cine(remote, hearts.sequence())
    box = remote.ui.cineModelComboBox
    box.currentIndex = box.findData("small-cine")
    remote.ui.applyButton.click()
    remote.wait_idle(60)
    assert stand.record.dialogs == [] and stand.torch.requests == []
    assert remote.ui.statusLabel.text.startswith("Done in")


def test_try_tells_the_devices_of_the_engine_and_the_panel_offers_them(remote):
    fields(remote).tryEngineButton.click()
    assert fields(remote).engineStatusLabel.text == "Asking..."
    remote.wait(lambda: "Fake GPU" in fields(remote).engineStatusLabel.text)
    assert remote.ui.deviceComboBox.findData("cuda:0") > 0
    remote.ui.advancedSection.collapsed = False
    assert remote.ui.backendLabel.text.startswith("Computes on 127.0.0.1:")


def test_an_engine_that_is_not_there_is_told_below_try_and_in_a_dialog(remote, engine):
    engine.listener.close()
    fields(remote).tryEngineButton.click()
    remote.wait(lambda: "no engine answers there" in fields(remote).engineStatusLabel.text)
    head()
    remote.events()
    remote.choose_model("small")
    dialog = dialog_after(remote, remote.ui.applyButton.click)
    assert "no engine answers there" in dialog.text and "\n" not in dialog.text


def test_a_token_file_that_is_missing_is_told_in_a_sentence(remote, engine, tmp_path):
    enter(remote, f"{engine.host}:{engine.port}", tmp_path / "nothing")
    head()
    remote.events()
    remote.choose_model("small")
    dialog = dialog_after(remote, remote.ui.applyButton.click)
    assert "nothing: does not exist" in dialog.text


def test_without_the_address_this_computer_computes_again(remote, engine):
    fields(remote).tryEngineButton.click()
    remote.wait(lambda: "Fake GPU" in fields(remote).engineStatusLabel.text)
    child = remote.worker._child.process
    enter(remote, "", "")
    assert child.poll() is not None and not fields(remote).tryEngineButton.enabled
    assert remote.ui.deviceComboBox.count == 1 and fields(remote).engineStatusLabel.text == ""
    from MambaSynthSlicer import remote_engine

    assert remote_engine.arguments() == []


def test_cancel_ends_the_run_over_there(remote, engine):
    from Testing.library.server.engines import wait

    engine.listener._child._command = (*engine.listener._child._command, "--slowly")
    head(shape=(8, 8, 200))
    remote.events()
    remote.choose_model("small")
    remote.ui.applyButton.click()
    remote.wait(lambda: remote.ui.progressBar.maximum == 200)
    remote.ui.applyButton.click()
    remote.wait_idle(5)
    assert "Cancelled" in remote.ui.statusLabel.text
    wait(lambda: engine.listener._turns._waiting == [], 10)


def test_where_the_engine_is_is_kept_for_this_user_and_never_in_the_scene(remote, engine):
    from MambaSynthSlicer import remote_engine

    address = f"{engine.host}:{engine.port}"
    assert remote_engine.kept().address == address
    node = remote.logic.getParameterNode()
    assert all(address not in node.GetParameter(name) for name in node.GetParameterNames())


def test_files_are_chosen_in_a_dialog_and_a_cancelled_one_changes_nothing(panel, token):
    ui = fields(panel)
    for button, edit in (
        (ui.engineTokenButton, ui.engineTokenEdit),
        (ui.engineCertificateButton, ui.engineCertificateEdit),
    ):
        panel.stand.record.answers.append(lambda _: str(token))
        button.click()
        panel.stand.record.answers.append(lambda _: "")
        button.click()
        assert edit.text == str(token)
    from MambaSynthSlicer import remote_engine

    assert remote_engine.arguments() == []  # no address, no engine
    enter(panel, "gpu:1", token)
    assert remote_engine.arguments()[:2] == ["--engine", "gpu:1"]
    assert "--certificate" in remote_engine.arguments()


def test_while_a_run_is_under_way_the_engine_is_not_changed(panel):
    head(shape=(8, 8, 60))
    panel.events()
    panel.choose_model("slow")
    panel.ui.applyButton.click()
    assert not fields(panel).engineEdit.enabled and not fields(panel).tryEngineButton.enabled
    panel.ui.applyButton.click()
    panel.wait_idle()
    assert fields(panel).engineEdit.enabled


def test_who_waits_for_others_is_told_how_many_come_first(panel):
    panel.widget.run.on_queued({"event": "queued", "before": 2})
    assert panel.ui.statusLabel.text == "Waiting for the engine; 2 come first..."
