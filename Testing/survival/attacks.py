"""What may befall a marked image: each a function of a volume that forgets what it can.

None keeps a header's marks. Turns forget the affine, too, as many readers of arrays do; a picture
has none to begin with.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.watermark.texture import Levels

Attack = Callable[[Volume], Volume]
QUALITY = 90  # of JPEG
KEPT = 0.6  # of each side after a cut


def as_int16(volume: Volume) -> Volume:
    """Whole numbers, a thousand between dark and bright."""
    return volume.with_array(np.round(volume.array * (1000 / _span(volume))).astype(np.int16))


def windowed(volume: Volume) -> Volume:
    """Another slope and offset."""
    return volume.with_array(0.037 * volume.array - 12.5)


def in_8_bits(volume: Volume) -> Volume:
    """A window from the 0.5 to the 99.5 percentile, in 256 steps, and whatever is beyond cut."""
    return volume.with_array(_gray(volume.array))


def turned(volume: Volume, order: tuple[int, ...], flips: tuple[int, ...]) -> Volume:
    """The axes in another order and direction, and no affine that would tell."""
    array = volume.array.transpose(order)[tuple(slice(None, None, step) for step in flips)]
    return Volume(array, np.diag([*volume.spacing[list(order)], 1.0]), volume.name)


TURNS = [(o, f) for o in permutations(range(3)) for f in product((1, -1), repeat=3)]


def resampled(volume: Volume, factor: float, degree: int = 1) -> Volume:
    """``factor`` times as many voxels along each axis."""
    array = ndimage.zoom(volume.array, factor, order=degree, grid_mode=True, mode="nearest")
    affine = volume.affine.copy()
    affine[:3, :3] *= np.array(volume.shape) / array.shape
    return Volume(array, affine, volume.name)


def cut(volume: Volume, where: float) -> Volume:
    """The middle 60 % of each axis (``where`` 0.5), or those at one end (0 or 1)."""
    parts = []
    for n in volume.shape:
        kept = max(1, round(KEPT * n))
        start = round(where * (n - kept))
        parts.append(slice(start, start + kept))
    return Volume(volume.array[tuple(parts)], volume.affine, volume.name)


def as_jpeg(volume: Volume) -> Volume:
    """Each slice of the last axis to 8 bits, to JPEG and back."""
    gray = _gray(volume.array)
    slices = [_jpeg(gray[..., k]) for k in range(volume.shape[2])]
    return volume.with_array(np.stack(slices, axis=2))


def noisy(volume: Volume, share: float = 0.02) -> Volume:
    """White noise of so much of the span."""
    noise = np.random.default_rng(17).standard_normal(volume.shape, dtype=np.float32)
    return volume.with_array(volume.array + share * _span(volume) * noise)


def blurred(volume: Volume, voxels: float) -> Volume:
    return volume.with_array(ndimage.gaussian_filter(volume.array, voxels))


def tilted(volume: Volume, degrees: float) -> Volume:
    """Turned about the last axis by an angle that is no right one."""
    return volume.with_array(ndimage.rotate(volume.array, degrees, reshape=False, order=1))


def brighter(volume: Volume) -> Volume:
    """A curve that is no line: a gamma of 0.7."""
    low = volume.array.min()
    scaled = (volume.array - low) / np.ptp(volume.array)
    return volume.with_array(scaled**0.7)


def in_turn(*attacks: Attack) -> Attack:
    def all_of(volume: Volume) -> Volume:
        for attack in attacks:
            volume = attack(volume)
        return volume

    return all_of


PROMISED: dict[str, list[Attack]] = {
    "as written": [lambda volume: volume],
    "cast to int16": [as_int16],
    "window: slope and offset": [windowed],
    "8 bits, cut at both ends": [in_8_bits],
    "axes turned and reversed": [partial(turned, order=o, flips=f) for o, f in TURNS[5::12]],
    "resampled 0.7 x": [partial(resampled, factor=0.7)],
    "resampled 0.85 x": [partial(resampled, factor=0.85)],
    "resampled 1.2 x": [partial(resampled, factor=1.2)],
    "resampled 1.5 x": [partial(resampled, factor=1.5)],
    "cut to 60 % of each side": [partial(cut, where=where) for where in (0.1, 0.9)],
    "JPEG 90, all slices": [as_jpeg],
    "2 % noise": [noisy],
}
BEYOND: dict[str, list[Attack]] = {
    "turned, 0.85 x, cut, int16, 2 % noise": [
        in_turn(partial(turned, order=(2, 0, 1), flips=(1, -1, 1)),
                partial(resampled, factor=0.85), partial(cut, where=0.4), as_int16, noisy)
    ],
    "resampled 0.6 x": [partial(resampled, factor=0.6)],
    "5 % noise": [partial(noisy, share=0.05)],
    "gamma 0.7": [brighter],
    "blurred by 1 voxel": [partial(blurred, voxels=1.0)],
    "tilted by 1 degree": [partial(tilted, degrees=1.0)],
    "tilted by 3 degrees": [partial(tilted, degrees=3.0)],
}  # fmt: skip


def slices_as_jpeg(volume: Volume) -> list[Volume]:
    """Every slice of the last axis that shows something, by itself, as a picture of 8 bits."""
    gray = _gray(volume.array)
    shown = [k for k in range(volume.shape[2]) if (gray[..., k] > 25).mean() > 0.15]
    return [Volume(_jpeg(gray[..., k])[..., None], np.eye(4), "slice.jpg") for k in shown]


def _span(volume: Volume) -> float:
    return Levels.of(volume.array).span


def _gray(array: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = np.percentile(array, [0.5, 99.5])
    return np.round(255 * np.clip((array - low) / (high - low), 0, 1)).astype(np.uint8)


def _jpeg(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(data), np.float32)
