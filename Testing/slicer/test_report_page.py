"""The page for the reader's file, and the window that a synthetic T2 gets."""

import re

import numpy as np
import pytest
from panel import dialog_after, head, oblique

slicer = pytest.importorskip("slicer")

GOLD = np.array([255, 200, 61])


@pytest.fixture
def desk(panel):
    """Source, synthetic and acquired volume."""
    source = head(affine=oblique())
    synthetic = panel.synthesize()
    array = slicer.util.arrayFromVolume(synthetic)
    acquired = slicer.util.addVolumeFromArray(
        3 * array + 40, ijkToRAS=slicer.util.vtkMatrixFromArray(oblique()), name="Head T2w"
    )
    panel.events()
    return source, synthetic, acquired


def save(panel, path):
    panel.stand.record.answers.append(lambda dialog: str(path))
    panel.widget.results.own.pageButton.click()
    return panel.ui.statusLabel.text


def pixels(path):
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def gold_in(picture):
    return (np.abs(picture - GOLD).max(axis=2) < 40).sum()


def test_the_page_is_written_as_png_and_pdf_with_its_marks_burned_in(panel, desk, tmp_path):
    from PIL import Image

    assert save(panel, tmp_path / "page.png") == "Saved the report page.png."
    picture = pixels(tmp_path / "page.png")
    assert picture.shape == (1754, 1240, 3)  # A4 at 150 dots an inch
    assert gold_in(picture[:40]) > 500 and gold_in(picture[-40:]) > 500
    assert gold_in(picture[100:900, :600]) < 0.2 * gold_in(picture[100:900, 600:])
    assert Image.open(tmp_path / "page.png").text["Description"].startswith("SYNTHETIC")
    assert save(panel, tmp_path / "named") == "Saved the report named.pdf."
    data = (tmp_path / "named.pdf").read_bytes()
    assert data.startswith(b"%PDF") and len(re.findall(rb"/Type /Page\b(?!s)", data)) == 1
    assert "SYNTHETIC".encode("utf-16-be") in data or b"SYNTHETIC" in data


def test_an_acquired_target_adds_its_column_and_the_scores(panel, desk, tmp_path, monkeypatch):
    pytest.importorskip("skimage")
    from MambaSynthSlicer import report_page

    told = []
    write = report_page.write_page

    def kept(path, text, **images):
        told.append((text, images))
        write(path, text, **images)

    monkeypatch.setattr(report_page, "write_page", kept)
    save(panel, tmp_path / "two.png")
    panel.ui.acquiredSelector.setCurrentNode(desk[2])
    save(panel, tmp_path / "three.png")
    (alone, without), (text, images) = told
    assert alone.scores == [] and without["reference"] is None
    assert images["reference"].name == "Head T2w" and images["contrasts"] == ("T1w", "T2w")
    assert [row[0] for row in text.scores][:2] == ["", "synthetic"] and len(text.scores) == 3
    assert text.scores[0][1:] == ["SSIM", "PSNR", "NMI"]
    assert not np.array_equal(pixels(tmp_path / "two.png"), pixels(tmp_path / "three.png"))


def test_the_page_says_what_made_it_its_limits_and_versions(panel, desk):
    from MambaSynthSlicer import mrml, report_page

    provenance = mrml.provenanceOf(desk[1])
    entry = panel.widget.models.entryOf(desk[1])
    text = "\n".join(report_page.linesOf(provenance, entry))
    for said in (
        "SYNTHETIC - NOT FOR DIAGNOSIS: T2w synthesized from T1w Head, taken for a whole head, by "
        "MambaSynth",
        "model inverter 1.0.0",
        "seed 0",
        "What the model cannot do:",
        "Not for diagnosis.",
        "in 3D Slicer 5.13.",
    ):
        assert said in text, said
    assert "What the model cannot do" not in "\n".join(report_page.linesOf(provenance, None))


def test_the_page_shows_the_slices_that_the_view_shows(panel, stand, desk, tmp_path):
    node = stand.layout.sliceWidget("Red").mrmlSliceNode()
    pictures = []
    for index in ([4, 9, 3, 1], [14, 15, 12, 1]):
        node.JumpSliceByCentering(*(oblique() @ index)[:3])
        save(panel, tmp_path / "page.png")
        pictures.append(pixels(tmp_path / "page.png")[100:1000])
    assert (pictures[0] != pictures[1]).mean() > 0.05


def test_a_page_that_cannot_be_written_is_told(panel, desk, tmp_path):
    def click():
        panel.stand.record.answers.insert(0, lambda dialog: str(tmp_path / "page.docx"))
        panel.widget.results.own.pageButton.click()

    dialog = dialog_after(panel, click)
    assert dialog.text == "page.docx: a report is one of .pdf, .png; rename it."
    assert list(tmp_path.glob("page*")) == []


def test_without_a_name_nothing_is_written(panel, desk, tmp_path):
    before = panel.ui.statusLabel.text
    assert save(panel, "") == before


# --- the window -----------------------------------------------------------------------------------


def test_a_synthetic_t2_is_windowed_as_in_the_clinic(panel):
    from MambaSynthLib.image.window import t2_window

    head()
    output = panel.synthesize()
    display = output.GetDisplayNode()
    wanted = t2_window(slicer.util.arrayFromVolume(output).transpose(2, 1, 0))
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == pytest.approx(wanted)
    assert not display.GetAutoWindowLevel()
