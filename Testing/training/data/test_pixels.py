"""Unregistered contrasts get one pixel size: heads are equally wide in T1w and T2w."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_heads import save

from MambaSynthLib.cli import main
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.pixels import pixels_of, with_pixels
from MambaSynthTraining.data.prepared import open_prepared

SAGITTAL = np.array([[0, 0, 2.4, -80.4], [-1.875, 0, 0, 90], [0, 1.875, 0, -90], [0, 0, 0, 1]])
AXIAL = np.array([[-1.875, 0, 0, 90], [0, 1.875, 0, -90], [0, 0, 5, -75], [0, 0, 0, 1]])


def head(affine: np.ndarray, shape: tuple[int, int, int], bright: float, seed: int) -> Volume:
    """An ellipsoid of 150 x 170 x 140 mm about the scanner's middle."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    x, y, z = np.moveaxis(index @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    inside = (x / 75) ** 2 + (y / 85) ** 2 + (z / 70) ** 2 < 1
    texture = np.random.default_rng(seed).uniform(0.9, 1.1, shape)
    return Volume(np.where(inside, bright * texture, 0), affine)


def t1(seed: int) -> Volume:
    """Stored in sagittal slices, as IXI's: axial pixels of 2.4 x 1.875 mm (IXI: 1.2 x 0.94)."""
    return head(SAGITTAL, (96, 96, 68), 500, seed)


def t2(seed: int) -> Volume:
    return head(AXIAL, (96, 96, 30), 700, seed + 50)


def width(subject, contrast: str) -> float:
    """Columns that the head covers in the widest slice, in pixels, edges weighed by brightness."""
    stack = np.asarray(subject.slices(contrast)[:]) > -0.5
    return float(stack.any(axis=1).sum(axis=1).max())


@pytest.mark.parametrize("layout", ["ixi", "unpaired"])
def test_training_heads_of_ixi_are_as_wide_in_t2w_as_in_t1w(tmp_path, layout):
    for n, name in enumerate(("IXI002-Guys-0828", "IXI012-HH-1211", "IXI013-HH-1212")):
        save(t1(n), tmp_path / "ixi/T1" / f"{name}-T1.nii.gz")
        save(t2(n), tmp_path / "ixi/T2" / f"{name}-T2.nii.gz")
    if layout == "unpaired":  # the last two people lack one contrast each
        (tmp_path / "ixi/T2/IXI012-HH-1211-T2.nii.gz").unlink()
        (tmp_path / "ixi/T1/IXI013-HH-1212-T1.nii.gz").unlink()
    images = [str(tmp_path / "ixi")] if layout == "ixi" else [
        "--t1", f"{tmp_path}/ixi/T1/*-T1.nii.gz", "--t2", f"{tmp_path}/ixi/T2/*-T2.nii.gz"
    ]  # fmt: skip
    words = ["prepare", layout, *images, "--out", str(tmp_path / "out"), "--split", "train",
             "--register", "evaluation", "--size", "96", "96", "--jobs", "1"]  # fmt: skip
    assert main(words) == 0
    people = open_prepared(tmp_path / "out").subjects("train")
    assert len(people) == 3 and not any(one.attributes["paired"] for one in people)
    widths = {
        contrast: np.mean([width(one, contrast) for one in people if contrast in one.contrasts])
        for contrast in ("T1w", "T2w")
    }
    assert widths["T1w"] == pytest.approx(150 / 2.4, rel=0.02)
    assert widths["T2w"] == pytest.approx(widths["T1w"], rel=0.02)


def test_a_volume_stays_where_it_is_when_its_pixels_change():
    volume = t2(0)
    changed = with_pixels(volume, (2.4, 1.875))
    assert pixels_of(changed) == pytest.approx((2.4, 1.875))
    middles = []
    for one in (volume, changed):
        mass = np.argwhere(one.array > 300).mean(axis=0)
        middles.append(one.affine[:3, :3] @ mass + one.affine[:3, 3])
    np.testing.assert_allclose(*middles, atol=0.3)
    assert changed.shape == (75, 96, 30)
    assert with_pixels(changed, (2.401, 1.875)) is changed
