"""How far phantom subjects may differ from each other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PhantomConfig:
    """How far subjects may differ. Amplitudes are upper bounds; each subject draws its own."""

    field_tesla: float | None = None  # 1.5 or 3; None draws one
    skull: bool = True  # False: exactly 0 outside the brain and its thin layer of fluid
    fluid_margin_mm: float = 2.0  # thickness of that layer
    lesions: bool = True  # white matter lesions, in two of three subjects
    flip: bool = True  # mirror left and right, in half of the subjects
    rotation_degrees: float = 8.0  # about each axis
    scaling: float = 0.08  # relative, per axis
    deformation_mm: float = 2.5  # standard deviation of the elastic displacement per axis
    texture: float = 0.05  # relative, of T1 and T2 within a tissue of the brain
    blur_mm: tuple[float, float] = (0.5, 0.8)  # range of the point spread's sigma
    bias: float = 0.12  # standard deviation of the logarithm of the bias field
    noise: float = 0.04  # standard deviation relative to the mean signal of the brain
