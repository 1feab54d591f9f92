"""ACDC's preparation, on made-up patients in exactly its layout."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from MambaSynthLib.cli import main
from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data import acdc
from MambaSynthTraining.data.heart_cine import read_split, read_subject

AFFINE = np.diag([1.6, 1.6, 10.0, 1.0])
FRAMES = 5


def cine_array(shape=(100, 110, 8)) -> np.ndarray:
    """(X,Y,Z,F): a bright ball off the middle whose brightness tells the frame."""
    x, y, z = np.indices(shape)
    ball = (x - 60) ** 2 + (y - 50) ** 2 + (6 * (z - 3)) ** 2 < 15**2
    return np.stack([10 + 100 * (f + 1) * ball + 0.1 * x for f in range(FRAMES)], -1)


def write_patient(root: Path, number: int, ed: int, es: int, affine=AFFINE) -> Path:
    name = f"patient{number:03d}"
    folder = root / name
    folder.mkdir(parents=True)
    lines = [f"ED: {ed}", f"ES: {es}", "Group: DCM", "Height: 184.0", f"NbFrame: {FRAMES}"]
    (folder / "Info.cfg").write_text("\n".join(lines) + "\nWeight: 95.0\n")
    array = cine_array()
    image = nib.Nifti1Image(array.astype(np.int16), affine)
    image.header.set_zooms((1.6, 1.6, 10.0, 0.04))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, folder / f"{name}_4d.nii.gz")
    for frame in (ed, es):
        labels = np.where(array[..., frame - 1] > 100, 3, 0).astype(np.uint8)
        nib.save(nib.Nifti1Image(labels, affine), folder / f"{name}_frame{frame:02d}_gt.nii.gz")
        nib.save(
            nib.Nifti1Image(array[..., frame - 1], affine),
            folder / f"{name}_frame{frame:02d}.nii.gz",
        )
    return folder


def test_the_grid_is_mstgs_and_the_middle_stays_the_middle(tmp_path):
    cine = acdc.read_patient(write_patient(tmp_path, 1, 1, 4))
    assert cine.frames.shape == (FRAMES, 32, 128, 128)
    assert cine.spacing_mm == (3.15, 1.5, 1.5)
    # the ball's place in mm from the middle of the volume is the same on both grids
    where = np.argwhere(cine.labels[0] == 3).mean(axis=0)
    found = (where - (np.array(cine.frames.shape[1:]) - 1) / 2) * cine.spacing_mm
    expected = (np.array([3, 50, 60]) - (np.array([8, 110, 100]) - 1) / 2) * (10, 1.6, 1.6)
    # 25 slices in the middle of 32 lie half a slice off
    assert found == pytest.approx(expected, abs=1.7)
    assert cine.times_ms == pytest.approx([0, 40, 80, 120, 160])


def test_frames_are_scaled_before_padding_and_padding_is_zero(tmp_path):
    cine = acdc.read_patient(write_patient(tmp_path, 1, 1, 4))
    low, high = cine.valid[0]
    assert (low, high) == (3, 28)  # 8 slices of 10 mm are 25 of 3.15 mm
    assert cine.frames.reshape(FRAMES, -1).min(axis=1) == pytest.approx(0)
    assert cine.frames.reshape(FRAMES, -1).max(axis=1) == pytest.approx(1)
    assert not cine.frames[:, :low].any() and not cine.frames[:, high:].any()
    assert cine.frames[:, low:high].any(axis=(2, 3)).all()


def test_a_bright_spot_that_is_cropped_away_still_counts_for_the_scale():
    volume = np.zeros((10, 300, 300), dtype=np.float32)
    volume[5, 2, 2], volume[5, 150, 150] = 4.0, 1.0
    affine = np.diag([*acdc.SPACING_MM[::-1], 1.0])
    image, _ = acdc._frame(Volume(volume.T, affine, "x"), Path("x"))
    assert image.max() == pytest.approx(0.25, abs=0.03)  # splines overshoot a little below 0


def test_where_es_comes_before_ed_the_frames_between_wrap(tmp_path):
    cine = acdc.read_patient(write_patient(tmp_path, 90, 4, 2))
    assert (cine.ed, cine.es) == (3, 1)
    assert cine.between == [4, 0]
    assert [cine.fraction(i) for i in (3, 4, 0, 1)] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert cine.labels_at(0) is None and cine.labels_at(3).any()


def test_patients_1_to_90_train_91_to_100_test_and_101_is_left_out(tmp_path, capsys):
    for number in (1, 90, 91, 101):
        write_patient(tmp_path / "database" / "training", number, 1, 3)
    (tmp_path / "database" / "MANDATORY_CITATION.md").write_text("cite")
    words = ["dataset", "acdc", str(tmp_path / "database")]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    assert "1 train, 1 validation, 1 test" in capsys.readouterr().out
    assert read_split(tmp_path / "out", "train") == ["patient001"]
    assert read_split(tmp_path / "out", "validation") == ["patient090"]
    assert main([*words, "--no-validation", "-o", str(tmp_path / "all")]) == 0  # as the papers
    assert "2 train, 0 validation, 1 test" in capsys.readouterr().out
    subject = read_subject(tmp_path / "out", "patient091")
    assert subject.frames.shape == (FRAMES, 32, 128, 128) and subject.fields is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ED: 1\n", "ED 1 and ES 0, but two different"),
        ("ED: 2\nES: 2\n", "two different"),
        ("ED: 1\nES: 9\n", "ES 9"),
        ("ED: 1\nES: 3\nNbFrame: 30\n", "Info.cfg: .*states 30 frames, but the cine has 5"),
    ],
)
def test_a_wrong_info_file_is_told(tmp_path, text, message):
    folder = write_patient(tmp_path, 1, 1, 3)
    (folder / "Info.cfg").write_text(text)
    with pytest.raises(FileError, match=message):
        acdc.read_patient(folder)


def test_missing_files_and_foreign_labels_are_told(tmp_path, capsys):
    folder = write_patient(tmp_path, 1, 1, 3)
    labels = folder / "patient001_frame03_gt.nii.gz"
    nib.save(nib.Nifti1Image(np.full((100, 110, 8), 7, np.uint8), AFFINE), labels)
    with pytest.raises(FileError, match="labels up to 7"):
        acdc.read_patient(folder)
    labels.unlink()
    assert main(["dataset", "acdc", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "frame03_gt.nii.gz: does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out" / "splits.json").exists()


def test_a_folder_without_patients_is_told(tmp_path):
    with pytest.raises(FileError, match="no patientNNN"):
        acdc.make_acdc(tmp_path, tmp_path / "out")
