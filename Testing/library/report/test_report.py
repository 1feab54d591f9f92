"""The picture is read back from its pixels: where is right, how many millimetres, is it marked."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from MambaSynthLib.errors import FileError, VolumeError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.report import head as report
from MambaSynthLib.report.columns import head_center, in_lpi
from MambaSynthLib.report.head import MARK, write_report

SHARED = Path(__file__).resolve().parents[3] / "../shared"
CLINICAL = SHARED / "data/brain_t1_t2/clinical_2d/patient01/study1_T1W.nii.gz"
HEAD_MM = np.array([48, 80, 64])  # right-left, anterior-posterior, superior-inferior
GREY, WHITE = 100, 250


def rotation(degrees: float) -> np.ndarray:
    """Turns about the R and S axes, so that no voxel axis is a patient axis."""
    a = np.deg2rad(degrees)
    about_r = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_s = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return about_r @ about_s


def marked_head(codes: str = "RAS", spacing=(1, 1, 1), degrees: float = 0) -> Volume:
    """A grey box off the middle of the field of view, white at its left anterior superior corner.

    The white rods run along each axis through the corner of the other two, so that each of the
    three middle planes shows its own corner. Built in RAS, then turned by nibabel.
    """
    spacing = np.array(spacing, float)
    start, size = np.rint(12 / spacing).astype(int), np.rint(HEAD_MM / spacing).astype(int)
    array = np.zeros(np.rint((HEAD_MM + (30, 40, 36)) / spacing).astype(int))
    box = array[tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))]
    box[...] = GREY
    rod = np.maximum(np.rint(12 / spacing).astype(int), 1)
    left, anterior, superior = slice(0, rod[0]), slice(-rod[1], None), slice(-rod[2], None)
    box[left, anterior, :] = box[left, :, superior] = box[:, anterior, superior] = WHITE
    affine = np.eye(4)
    affine[:3, :3] = rotation(degrees) * spacing
    affine[:3, 3] = (-20, 35, 7)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    affine = affine @ nib.orientations.inv_ornt_aff(turn, array.shape)
    return Volume(nib.orientations.apply_orientation(array, turn), affine, "head.nii.gz")


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def boxes(picture: np.ndarray) -> list[tuple[slice, slice]]:
    """The three heads in the source column (left of two), from top to bottom."""
    column = picture[:, : picture.shape[1] // 2]
    neutral = np.ptp(column, axis=2) < 6  # the letters are blue
    labels, _ = ndimage.label(neutral & (column.mean(axis=2) > 60))
    found = ndimage.find_objects(labels)
    area = [(s[0].stop - s[0].start) * (s[1].stop - s[1].start) for s in found]
    return sorted((found[i] for i in np.argsort(area)[-3:]), key=lambda s: s[0].start)


CASES = [
    ("RAS", (1, 1, 1), 0),
    ("LPS", (0.8, 0.8, 4), 0),
    ("PSR", (1, 1.5, 1), 0),
    ("IRA", (3, 0.7, 0.9), 0),
    ("LAI", (0.9, 0.9, 3.3), 14),
    ("ASL", (4, 1, 1), 14),
]


@pytest.mark.parametrize(("codes", "spacing", "degrees"), CASES)
def test_every_plane_is_radiological_and_true_to_scale(tmp_path, codes, spacing, degrees):
    volume = marked_head(codes, spacing, degrees)
    assert volume.axis_codes == codes
    write_report(tmp_path / "r.png", source=volume, synthetic=volume, title="box")
    picture = pixels(tmp_path / "r.png")
    (rl, ap, si), scales = HEAD_MM, []
    planes = [("axial", rl, ap, 1), ("coronal", rl, si, 1), ("sagittal", ap, si, -1)]
    for box, (plane, width, height, side) in zip(boxes(picture), planes, strict=True):
        shown = picture[box]
        assert shown.shape[1] / shown.shape[0] == pytest.approx(width / height, rel=0.08), plane
        scales += [shown.shape[1] / width, shown.shape[0] / height]
        rows, columns = np.nonzero(shown.mean(axis=2) > 200)
        x, y = columns.mean() / shown.shape[1] - 0.5, rows.mean() / shown.shape[0] - 0.5
        # The patient's left is on the right, anterior on top or on the left, superior on top.
        assert side * x > 0.3 and y < -0.3, plane
    assert max(scales) / min(scales) < 1.1  # one scale for all planes


def test_the_lpi_grid_is_what_nibabel_makes_of_it():
    volume = marked_head("PSR", (1, 1.5, 1), 14)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("PSR"), nib.orientations.axcodes2ornt("LPI")
    )
    expected = nib.orientations.apply_orientation(volume.array, turn)
    np.testing.assert_array_equal(in_lpi(volume), expected)


def test_planes_pass_through_the_head_and_not_through_the_array_center():
    array = np.zeros((40, 50, 60))
    array[3:10, 30:45, 40:57] = 80
    assert head_center(array) == (6, 37, 48)


def test_a_constant_volume_is_cut_in_the_middle():
    assert head_center(np.full((5, 7, 9), 0.1)) == (2, 3, 4)


@pytest.fixture
def figures(monkeypatch) -> list:
    """The matplotlib figures that were drawn, for what cannot be read off pixels."""
    drawn, png = [], report.Sheet.png
    monkeypatch.setattr(
        report.Sheet, "png", lambda sheet, text: (drawn.append(sheet.figure), png(sheet, text))[1]
    )
    return drawn


def test_the_letters_name_the_side_they_stand_on(tmp_path, figures):
    head = marked_head("PSR", (3, 3, 3))
    write_report(tmp_path / "r.png", source=head, synthetic=head, reference=head, title="t")
    pictures = [axes for axes in figures[0].axes if axes.texts]
    assert len(pictures) == 12
    for index, axes in enumerate(pictures):
        at = {t.get_text(): t.get_position() for t in axes.texts if len(t.get_text()) == 1}
        left, right = min(at, key=lambda t: at[t][0]), max(at, key=lambda t: at[t][0])
        top = max(at, key=lambda t: at[t][1])
        assert left + right + top == ("RLA", "RLS", "APS")[index % 3]
        assert (MARK in [t.get_text() for t in axes.texts]) == (index // 3 == 1)


def yellow(picture: np.ndarray) -> np.ndarray:
    r, g, b = np.moveaxis(picture, 2, 0)
    return (r > 200) & (g > 150) & (b < 120)


def test_only_the_synthetic_pictures_carry_the_mark_in_their_pixels(tmp_path):
    head = marked_head()
    bright = head.with_array(np.where(head.array > 0, 1, 0.9))  # the mark must show on white too
    write_report(tmp_path / "r.png", source=head, synthetic=bright, reference=head, title="t")
    picture = pixels(tmp_path / "r.png")
    source, synthetic, acquired, _ = np.array_split(picture, 4, axis=1)
    assert not yellow(source).any() and not yellow(acquired).any()
    rows = np.flatnonzero(yellow(synthetic).any(axis=1))
    lines = np.split(rows, np.flatnonzero(np.diff(rows) > 30) + 1)
    assert len(lines) == 3  # once on each plane
    for line in lines:
        columns = np.flatnonzero(yellow(synthetic[line[0] : line[-1] + 1]).any(axis=0))
        assert np.ptp(columns) > 0.5 * synthetic.shape[1]


def test_the_difference_of_equal_images_is_black_and_of_others_is_not(tmp_path):
    head = marked_head()
    other = head.with_array(head.array[::-1])
    for name, synthetic in (
        ("same", head),
        ("other", other),
        ("gain", head.with_array(7 * head.array)),
    ):
        path = tmp_path / f"{name}.png"
        write_report(path, source=head, synthetic=synthetic, reference=head, title="t")
    difference = {
        name: np.array_split(pixels(tmp_path / f"{name}.png"), 4, axis=1)[3][:-90]
        for name in ("same", "other", "gain")
    }
    fire = {
        name: (np.ptp(p, axis=2) > 100) & (p[..., 0] > p[..., 2]) for name, p in difference.items()
    }
    assert fire["same"].sum() == 0 and fire["gain"].sum() == 0 and fire["other"].sum() > 1000


def test_long_dollared_texts_stay_inside_the_picture(tmp_path, figures):
    head = marked_head(spacing=(3, 3, 3))
    write_report(
        tmp_path / "r.png",
        source=head,
        synthetic=head,
        title="W" * 100 + " $x_{$ " * 20,
        caption=["m" * 500, "SSIM 0.8 $", "last line"],
        contrasts=("T1w " * 30, "T2w"),
    )
    picture = pixels(tmp_path / "r.png")
    for edge in (picture[:4], picture[-4:], picture[:, :4], picture[:, -4:]):
        assert (edge == picture[0, 0]).all()
    extents = [text.get_window_extent() for text in figures[0].texts]
    assert len(extents) == 8  # title, caption, two column titles, two ends of two bars
    assert not any(a.overlaps(b) for a, b in combinations(extents, 2))


def test_equal_inputs_give_equal_bytes_without_a_date(tmp_path):
    head = marked_head(spacing=(3, 3, 3))
    for name in ("a.png", "b.png"):
        write_report(tmp_path / name, source=head, synthetic=head, reference=head, title="t")
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    assert Image.open(tmp_path / "a.png").text == {"Description": MARK}
    assert b"tIME" not in content


def test_drawing_leaves_the_global_state_of_matplotlib_alone(tmp_path):
    code = (
        "import sys, numpy as np, MambaSynthLib.report.head as r\n"
        "assert 'matplotlib' not in sys.modules and 'skimage' not in sys.modules\n"
        "v = r.Volume(np.random.rand(9, 9, 9), np.eye(4))\n"
        "r.write_report(sys.argv[1], source=v, synthetic=v, title='t')\n"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "r.png")], check=True, timeout=60)


@pytest.mark.parametrize("shape", [(40, 40, 1), (1, 40, 40), (3, 3, 3), (8, 8, 300)])
def test_extreme_fields_of_view_are_drawn(tmp_path, shape):
    volume = Volume(np.random.default_rng(0).random(shape), np.diag([1, 1, 5, 1]))
    write_report(tmp_path / "r.png", source=volume, synthetic=volume, title="t")
    height, width, _ = pixels(tmp_path / "r.png").shape
    assert width < 1000 and height < 2000
    assert yellow(pixels(tmp_path / "r.png")).sum() > 300


def test_an_existing_report_is_replaced(tmp_path):
    path = tmp_path / "r.png"
    path.write_text("old")
    head = marked_head(spacing=(4, 4, 4))
    write_report(path, source=head, synthetic=head, title="t")
    assert path.read_bytes().startswith(b"\x89PNG")


# --- what is refused ---------------------------------------------------------------------------


def test_another_grid_is_refused_and_nothing_is_written(tmp_path):
    head, other = marked_head(spacing=(4, 4, 4)), marked_head(spacing=(4, 4, 3))
    with pytest.raises(VolumeError, match="resample"):
        write_report(tmp_path / "r.png", source=head, synthetic=head, reference=other, title="t")
    assert not list(tmp_path.iterdir())


def test_nan_is_refused(tmp_path):
    head = marked_head(spacing=(4, 4, 4))
    holes = head.with_array(np.where(head.array > 0, np.nan, 0))
    with pytest.raises(VolumeError, match="NaN"):
        write_report(tmp_path / "r.png", source=head, synthetic=holes, title="t")


def test_a_name_that_is_no_png_is_refused(tmp_path):
    head = marked_head(spacing=(4, 4, 4))
    with pytest.raises(FileError, match=r"r\.pdf.*\.png"):
        write_report(tmp_path / "r.pdf", source=head, synthetic=head, title="t")


def test_a_missing_folder_is_a_file_error_that_names_the_report(tmp_path):
    head = marked_head(spacing=(4, 4, 4))
    with pytest.raises(FileError, match=r"r\.png: cannot be written \(No such file"):
        write_report(tmp_path / "nowhere" / "r.png", source=head, synthetic=head, title="t")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_report_and_no_temporary_file(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "r.png"
    path.write_text("old")
    monkeypatch.setattr(os, call, full)
    head = marked_head(spacing=(4, 4, 4))
    with pytest.raises(FileError, match="No space left on device"):
        write_report(path, source=head, synthetic=head, title="t")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


# --- real images -------------------------------------------------------------------------------


@pytest.mark.skipif(not CLINICAL.is_file(), reason="the shared clinical brains are not here")
def test_a_real_oblique_anisotropic_head_fills_its_pictures(tmp_path):
    image = nib.load(CLINICAL)
    volume = Volume(np.asarray(image.dataobj), image.affine, CLINICAL.name)
    write_report(tmp_path / "r.png", source=volume, synthetic=volume, title="clinical")
    heads = boxes(pixels(tmp_path / "r.png"))
    assert all(min(s[0].stop - s[0].start, s[1].stop - s[1].start) > 100 for s in heads)
