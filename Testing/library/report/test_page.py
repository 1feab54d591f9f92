"""One page, PDF or PNG: pictures in place, marks burned in, text that fits."""

import re

import numpy as np
import pytest
from PIL import Image

from MambaSynthLib.errors import FileError, VolumeError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.report.page import HEIGHT, MARK_INK, WIDTH, Text, write_page

AFFINE = np.diag([-2.0, 2, 3, 1])


def volume(name, value=1.0):
    """Bright in one octant: left, anterior, superior."""
    array = np.zeros((40, 48, 30), "float32")
    array[4:36, 4:44, 3:27] = 100
    array[22:30, 26:36, 16:22] = 400 * value
    affine = AFFINE.copy()
    affine[0, 0] = 2.0  # the first index grows to the right
    return Volume(array, affine, name)


def page(tmp_path, text=None, name="page.png", **more):
    path = tmp_path / name
    text = text or Text("Head SYNTHETIC T2w")
    write_page(path, text, source=volume("Head"), synthetic=volume("T2"), **more)
    return np.asarray(Image.open(path).convert("RGB")).astype(int) if name.endswith("png") else path


def gold(picture):
    return (np.abs(picture - MARK_INK).max(axis=2) < 40).sum()


def test_the_page_has_its_mark_at_both_ends_and_in_each_synthetic_picture(tmp_path):
    picture = page(tmp_path)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert gold(picture[:40]) > 500 and gold(picture[-40:]) > 500
    middle = picture[60:-60]
    left, right = middle[:, : WIDTH // 2], middle[:, WIDTH // 2 :]
    assert gold(left) == 0 and gold(right) > 200
    beside = page(tmp_path, reference=volume("acquired", 0.5))[60:-60]
    columns = [gold(beside[:, left : left + 277]) for left in range(50, 1190, 287)]
    assert columns[0] == columns[2] == 0 and min(columns[1], columns[3]) > 100


def test_the_slices_go_through_the_point_that_is_asked_for(tmp_path):
    bright = volume("Head").affine @ [26, 31, 19, 1]
    dark = volume("Head").affine @ [10, 8, 8, 1]
    through, aside = (page(tmp_path, through=point[:3]) for point in (bright, dark))

    def white(picture):
        return (picture[60:1200].min(axis=2) > 250).sum()

    assert white(through) > white(aside) + 2000
    outside = page(tmp_path, through=np.array([900.0, 0, 0]))
    assert np.array_equal(outside, page(tmp_path))


def test_scores_and_lines_stand_below_and_long_text_is_cut_and_said_to_be(tmp_path):
    rows = [["", "SSIM"], ["synthetic", "0.912"], ["source itself", "0.700"]]
    plain = page(tmp_path)
    scored = page(tmp_path, Text("Head SYNTHETIC T2w", rows, ["Model small 1.0."]))
    changed = np.argwhere((plain != scored).any(axis=2))[:, 0]
    assert changed.min() > 700 and changed.max() < HEIGHT - 40
    endless = page(tmp_path, Text("Head", rows, ["word " * 5000]))
    assert gold(endless[-40:]) == gold(plain[-40:])
    assert (endless[-60:-40] > 240).mean() > 0.5


def test_a_pdf_has_one_page_its_mark_and_no_date(tmp_path):
    data = page(tmp_path, name="page.pdf").read_bytes()
    assert data.startswith(b"%PDF") and len(re.findall(rb"/Type /Page\b(?!s)", data)) == 1
    assert b"CreationDate" not in data
    assert b"SYNTHETIC - NOT FOR DIAGNOSIS" in data.replace(b"\x00", b"")
    assert page(tmp_path, name="page.pdf").read_bytes() == data


def test_what_cannot_be_shown_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(FileError, match="^page.docx: a report is one of .pdf, .png; rename it."):
        page(tmp_path, name="page.docx")
    moved = volume("acquired")
    affine = moved.affine.copy()
    affine[0, 3] = 5
    with pytest.raises(VolumeError, match="acquired"):
        page(tmp_path, reference=Volume(moved.array, affine, "acquired"))
    assert list(tmp_path.iterdir()) == []
