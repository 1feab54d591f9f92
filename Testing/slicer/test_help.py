"""What helps before the click and after trouble: what goes in, limits, samples, a report."""

import hearts
import numpy as np
import pytest
from panel import dialog_after, head, sample_file

slicer = pytest.importorskip("slicer")


def told(panel):
    """As soon as the source has come to rest."""
    panel.events()
    panel.wait(lambda: panel.ui.sourceInfoLabel.text)
    return panel.ui.sourceInfoLabel.text


# ------------------------------------------------------------------------------- what goes in


@pytest.mark.parametrize(
    ("skull", "said"),
    [(True, "Taken for a whole head"), (False, "Taken for a brain without its skull")],
)
def test_whether_a_head_or_a_brain_goes_in_is_told_before_the_click(panel, tmp_path, skull, said):
    slicer.util.loadVolume(str(sample_file(tmp_path, skull=skull)))
    assert told(panel).startswith(said) and "cm2 at its largest axial section," in told(panel)


def test_doubts_about_the_contrast_and_the_values_are_told_before_the_click(panel):
    source = head("sub-01_T2w")
    assert "The name says T2w, but the model synthesizes from T1w." in told(panel)
    array = slicer.util.arrayFromVolume(source)
    array[:8] = -1000
    slicer.util.arrayFromVolumeModified(source)
    assert "lie near -1000, as air does in CT and not in MR." in told(panel)


def test_why_a_volume_is_refused_stands_below_the_selector_too(panel):
    source = head()
    result = panel.synthesize()
    panel.ui.sourceSelector.setCurrentNode(result)
    assert "is synthetic itself" in told(panel)
    panel.ui.sourceSelector.setCurrentNode(source)
    assert "is synthetic itself" not in told(panel)


def test_a_volume_is_looked_at_once_for_each_state_that_it_is_in(panel, monkeypatch):
    from MambaSynthSlicer import source_check

    looks = []
    monkeypatch.setattr(source_check, "looked", lambda *_: looks.append(1) or "fine")
    source = head()
    assert told(panel) == "fine"
    for _ in range(5):
        panel.widget.update()
    assert looks == [1]
    for value in range(20):  # a brush stroke, or a playing cine
        slicer.util.arrayFromVolume(source)[0] = value
        slicer.util.arrayFromVolumeModified(source)
        panel.events()
    assert looks == [1] and panel.ui.sourceInfoLabel.text == ""
    assert told(panel) == "fine" and looks == [1, 1]


def test_a_constant_volume_is_told_before_the_click(panel):
    slicer.util.addVolumeFromArray(np.full((8, 16, 16), 7, dtype="float32"), name="flat")
    assert "constant" in told(panel)


# ------------------------------------------------------------------------------------- limits


def test_the_link_shows_the_limits_of_the_model_of_the_tab_first(panel, models):
    card = models / "inverter" / "model.json"
    text = card.read_text().replace('"trained_on"', '"limits": "Bones & <air>.", "trained_on"')
    card.write_text(text)
    panel.widget.models.fill()
    panel.choose_model("inverter")
    dialog = dialog_after(panel, lambda: panel.ui.limitsLabel.linkActivated.emit("limits"))
    assert dialog.title == "Fake inverter" and dialog.text.startswith("Bones & <air>.")
    assert "Intended use: Testing only" in dialog.text and "Not for diagnosis." in dialog.text
    panel.ui.taskTabs.setCurrentIndex(1)
    box = panel.ui.cineModelComboBox
    box.currentIndex = box.findData("blender")
    dialog = dialog_after(panel, lambda: panel.ui.cineLimitsLabel.linkActivated.emit("limits"))
    assert dialog.title == "Fake blender" and "states no limits" in dialog.text


# ------------------------------------------------------------------------------------ samples


def test_a_sample_heart_is_computed_by_one_click_and_can_be_synthesized_from(panel):
    panel.ui.taskTabs.setCurrentIndex(1)
    panel.events()
    assert panel.ui.sampleButton.text == "Compute a sample heart"
    panel.ui.sampleButton.click()
    source = panel.ui.cineSourceSelector.currentNode()
    assert source.GetName() == "Computed heart" and source.GetNumberOfDataNodes() == 8
    hearts.choose_cine(panel, source, frames=16)
    output = hearts.synthesize(panel)
    assert output.GetNumberOfDataNodes() == 16
    assert hearts.times_of(source)[1] == pytest.approx(112.5)
    panel.ui.taskTabs.setCurrentIndex(0)
    assert panel.ui.sampleButton.text == "Load a sample head"


# ------------------------------------------------------------------------------------- report


def test_a_report_says_what_ran_and_neither_names_nor_paths(panel):
    import getpass

    import qt

    head("Doe^Jane T1")
    panel.events()
    panel.choose_model("broken")
    dialog_after(panel, panel.ui.applyButton.click)
    log = panel.ui.logText
    for line in (
        "reading C:\\Users\\Jane\\Doe T1.nii",
        "/home/jane/data/Doe^Jane T1.nii.gz: damaged",
        'File "/opt/slicer/lib/engine.py", line 3, in synthesize',
        f"user {getpass.getuser()} has Doe^Jane T1 open",
    ):
        log.appendPlainText(line)
    panel.ui.reportButton.click()
    text = qt.QApplication.clipboard().text()
    for part in ("MambaSynth 0.", "Slicer 5.13", "model: broken 1.0.0", "device: Automatic"):
        assert part in text
    assert "Failed; nothing was changed." in text and "numpy 2." in text
    assert '<path>/engine.py", line 3' in text
    for secret in ("Doe", "Jane", "jane", "/home", "C:\\", "/opt", f"user {getpass.getuser()} "):
        assert secret not in text, secret


def test_short_words_are_not_taken_for_names(panel):
    from MambaSynthSlicer.problem_report import withoutNames

    assert withoutNames("T1 of sub-01 and ED", ["sub-01"]) == "T1 of <name> and ED"
    assert withoutNames("Headache of Head", ["Head"]) == "Headache of <name>"
