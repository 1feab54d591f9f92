"""The button with the real engine behind it: ``python -m MambaSynthLib serve``, a small model."""

import hearts
import numpy as np
import pytest
from panel import sample_file, small_cine_package, small_package

pytest.importorskip("torch")
slicer = pytest.importorskip("slicer")


@pytest.fixture
def real_panel(panel, models):
    package = small_package(models)
    panel.worker.stop()
    panel.worker.command = None
    panel.widget.models.fill()
    panel.choose_model("small")
    panel.ui.sliceRangeWidget.setValues(40, 43)
    return panel, package


def test_the_real_engine_synthesizes_and_the_second_run_starts_at_once(
    real_panel, tmp_path, monkeypatch
):
    panel, package = real_panel
    source = slicer.util.loadVolume(str(sample_file(tmp_path, (2.0, 2.0, 2.0), skull=False)))
    panel.events()
    panel.choose_model("small")
    panel.ui.sliceRangeWidget.setValues(40, 43)
    panel.ui.applyButton.click()
    panel.wait_idle(60)
    output = panel.logic.latestSynthetic(source)
    assert output.GetAttribute("MambaSynth.weights_sha256") == package.weights_sha256
    assert output.GetAttribute("MambaSynth.slices") == "[40, 44]"
    array = slicer.util.arrayFromVolume(output)
    filled = np.flatnonzero((array != array.min()).any(axis=(1, 2)))
    assert len(filled) == 4 and np.isfinite(array).all()
    panel.ui.statusLabel.text = ""
    told = []
    monkeypatch.setattr(
        type(panel.widget.run), "on_loading", lambda section, event: told.append(event)
    )
    panel.ui.applyButton.click()
    panel.wait_idle(60)
    assert told == []  # the model is loaded already
    second = panel.logic.latestSynthetic(source)
    assert second is not output
    assert np.array_equal(slicer.util.arrayFromVolume(second), array)  # the same seed


def test_without_torch_the_whole_way_from_click_to_result_is_gone_with_onnx_runtime(
    real_panel, tmp_path, monkeypatch
):
    """PyTorch cannot even be imported in the child; the image is the same to rounding."""
    from MambaSynthSlicer import dependencies, worker

    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    panel, _ = real_panel
    source = slicer.util.loadVolume(str(sample_file(tmp_path, (2.0, 2.0, 2.0), skull=False)))
    panel.events()
    panel.ui.sliceRangeWidget.setValues(40, 43)
    arrays = {}
    for backend in ("torch", "onnxruntime"):
        if backend == "onnxruntime":
            panel.worker.stop()
            blocked = (
                "import sys, runpy; sys.modules['torch'] = None; sys.argv[1:] = sys.argv[3:]; "
            )
            program = blocked + "runpy.run_module('MambaSynthLib', run_name='__main__')"
            (python, *rest) = worker.pythonCommand()
            panel.worker.command = [python, "-c", program, *rest]
            monkeypatch.setattr(dependencies, "torchIsUsable", lambda: False)
        panel.ui.applyButton.click()
        panel.wait_idle(120)
        output = panel.logic.latestSynthetic(source)
        assert output.GetAttribute("MambaSynth.backend") == backend
        arrays[backend] = slicer.util.arrayFromVolume(output).copy()
    assert np.abs(arrays["torch"] - arrays["onnxruntime"]).max() < 1e-2


def test_the_real_devices_are_listed(real_panel):
    panel, _ = real_panel
    panel.ui.advancedSection.collapsed = False
    panel.wait(lambda: panel.ui.deviceComboBox.count > 1, 60)
    assert panel.ui.deviceComboBox.itemText(panel.ui.deviceComboBox.count - 1).startswith("CPU")


def test_a_constant_volume_is_refused_in_the_librarys_words(real_panel):
    panel, _ = real_panel
    slicer.util.addVolumeFromArray(np.full((8, 16, 16), 7, dtype="float32"), name="flat")
    panel.events()
    panel.choose_model("small")
    panel.expect_dialog()
    panel.ui.applyButton.click()
    panel.wait_idle(60)
    dialog = panel.stand.record.dialogs[-1]
    assert dialog.text.startswith("flat: ") and "constant" in dialog.text and not dialog.details


def test_a_model_whose_weights_changed_on_disk_is_refused(real_panel, tmp_path):
    panel, package = real_panel
    path = package.folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    slicer.util.loadVolume(str(sample_file(tmp_path)))
    panel.events()
    panel.choose_model("small")
    panel.expect_dialog()
    panel.ui.applyButton.click()
    panel.wait_idle(60)
    assert "sha256" in panel.stand.record.dialogs[-1].text


def test_the_real_engine_synthesizes_a_cine_from_a_sequence(panel, models):
    package = small_cine_package(models)
    panel.worker.stop()
    panel.worker.command = None
    panel.widget.models.fill()
    source = hearts.sequence(affine=np.diag([-2.0, -2.0, 8.0, 1.0]))
    hearts.choose_cine(panel, source, "small-cine", frames=7)
    panel.ui.applyButton.click()
    panel.wait_idle(seconds=120)
    (output,) = hearts.synthesized()
    assert output.GetAttribute("MambaSynth.weights_sha256") == package.card.weights_sha256
    kinds, frames = hearts.kinds_of(output), hearts.frames_of(output)
    assert kinds.count("synthetic") == 2
    kept = [frame for frame, kind in zip(frames, kinds, strict=True) if kind == "acquired"]
    assert all(np.array_equal(*both) for both in zip(kept, hearts.beat(), strict=True))
    assert all(np.isfinite(frame).all() for frame in frames)
