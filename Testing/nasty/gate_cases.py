"""What is a sound file, but no upright T1w head: the input gate's part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from Testing.analytic_heads import analytic_head
from Testing.nasty.case import REFUSED, Case
from Testing.nasty.ours import GATE

GRID = (2.0, 2.0, 4.0)  # mm


def shows(what: str, change: Callable[[Volume], Volume], wanted: str = REFUSED,
          options: tuple[str, ...] = ()) -> Case:  # fmt: skip
    """What becomes of a computed T1w head."""

    def make(folder: Path) -> Path:
        volume = change(analytic_head(GRID)["T1w"])
        write_volume(Volume(volume.array, volume.affine), folder / "x.nii")
        return folder / "x.nii"

    return Case(GATE, what, make, wanted, options=options, rivals=False)


def noise(volume: Volume) -> Volume:
    return volume.with_array(np.random.default_rng(0).normal(100, 30, volume.shape))


def blocks(volume: Volume) -> Volume:
    """A phantom of bright cuboids."""
    i, j, k = np.indices(volume.shape)
    return volume.with_array(np.where((i // 8 + j // 8 + k // 4) % 2, 1000.0, 100.0 + i % 7))


def sized(factor: float) -> Callable[[Volume], Volume]:
    scale = np.diag([factor, factor, factor, 1.0])
    return lambda volume: Volume(volume.array, scale @ volume.affine)


def upside_down(volume: Volume) -> Volume:
    return volume.with_array(volume.array[:, :, ::-1])


def as_ct(volume: Volume) -> Volume:
    array = np.where(volume.array > 80, volume.array * 0.1, -1000.0)
    return volume.with_array(array)


def uniform_image(volume: Volume) -> Volume:
    """MP2RAGE's quotient of two complex images with noise, -0.5 to 0.5, stored as 0 to 4095
    (Marques et al., NeuroImage 2010, Eq. 3): where there is no signal, it is noise of full range.
    """
    rng, noise = np.random.default_rng(0), 0.05
    bright = volume.array / volume.array.max()
    signal = (bright > 0.03).astype(float)
    first = signal * np.tan(np.arcsin(2 * np.clip(bright, 0, 0.95) - 1) / 2)  # so that q = b - 1/2
    one, two = (
        image + noise * (rng.standard_normal(bright.shape) + 1j * rng.standard_normal(bright.shape))
        for image in (first, signal)
    )
    quotient = (one.conj() * two).real / (abs(one) ** 2 + abs(two) ** 2)
    return volume.with_array(np.rint((quotient + 0.5) * 4095).astype(np.float32))


def cases() -> list[Case]:
    return [
        shows("a T1w head", lambda volume: volume, "ok"),
        shows("the T2w head", lambda volume: analytic_head(GRID)["T2w"]),
        shows("the same, --force", lambda volume: analytic_head(GRID)["T2w"], "warned",
              ("--force",)),
        shows("a mask", lambda v: v.with_array((v.array > 80) * 1.0)),
        shows("noise", noise),
        shows("a phantom of blocks", blocks),
        shows("a constant image", lambda v: v.with_array(np.full(v.shape, 7.0))),
        shows("a head a tenth as large", sized(0.1)),
        shows("a head ten times as large", sized(10.0)),
        shows("a head upside down", upside_down),
        shows("computed tomography in Hounsfield units", as_ct),
        shows("MP2RAGE's uniform image", uniform_image),
    ]  # fmt: skip
