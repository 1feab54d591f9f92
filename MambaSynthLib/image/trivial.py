"""Answers to "what would the other contrast look like?" that need no model.

A model is worth something where it beats them. Everybody who scores takes them from here: the
commands ``evaluate``, ``demo`` and ``evaluate-set``, the model cards and the benchmarks.

| name                      | what it is                                                            |
|---------------------------|-----------------------------------------------------------------------|
| source itself             | the source, clipped as a network sees it                              |
| source inverted           | that, with the brightness of its tissue turned upside down            |
| best linear map of source | that, times a gain plus an offset, fitted to the acquired target inside the mask: no inversion is nearer to it by least squares, but it has seen the target |
| target shifted 1 px, 2 px | the acquired target, moved: what registration errors of that size cost a perfect model |

Clipping at the 99.5 percentile of the tissue makes each of the first three a stronger answer: a few
bright voxels would otherwise leave the rest few of the bins of NMI and the range of SSIM.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from MambaSynthLib.image.intensity import Scaling, background, percentile_scaling
from MambaSynthLib.image.metrics import Array, Mask, foreground
from MambaSynthLib.image.volume import Volume, array_axis

CLIPPED_AT = 99.5  # percentile of the tissue that becomes +1, as in the cards
SHIFTS = (1, 2)  # pixels
SHIFTED = "target shifted"  # how the names of those begin that are no answers

Answer = Callable[[Volume, Volume, Mask], Volume]


def source_itself(source: Volume, reference: Volume, mask: Mask) -> Volume:
    """``source`` from -1 to 1, in the units of ``reference``."""
    return _answered(_as_seen(source), source, reference)


def source_inverted(source: Volume, reference: Volume, mask: Mask) -> Volume:
    """``source`` with its tissue upside down between -1 and 1, in the units of ``reference``."""
    return _answered(-_as_seen(source), source, reference)


def linear_map(source: Volume, reference: Volume, mask: Mask) -> Volume:
    """gain * source + offset with the least squared difference to ``reference`` inside ``mask``."""
    seen = np.asarray(_as_seen(source), np.float64)
    wanted = np.asarray(_scaling(reference).apply(reference.array), np.float64)
    x, y = seen[mask], wanted[mask]
    gain = ((x - x.mean()) * (y - y.mean())).sum() / max(((x - x.mean()) ** 2).sum(), 1e-12)
    return _answered(y.mean() + gain * (seen - x.mean()), source, reference)


def shifted(pixels: int, slice_axis_code: str) -> Answer:
    """The target itself, moved within its slices: to the left, or back where slices are sagittal.

    What comes in at the edge is as dark as the darkest voxel.
    """
    across = "P" if slice_axis_code in "LR" else "L"

    def answer(source: Volume, reference: Volume, mask: Mask) -> Volume:
        axis = array_axis(reference, across)
        step = pixels if reference.axis_codes[axis] == across else -pixels
        moved = np.roll(reference.array, step, axis)
        edge = slice(None, pixels) if step > 0 else slice(-pixels, None)
        np.moveaxis(moved, axis, 0)[edge] = reference.array.min()
        return reference.with_array(moved)

    return answer


def trivial_answers(slice_axis_code: str = "S") -> dict[str, Answer]:
    """Name -> (source, reference, mask) -> that answer, in the order of the tables.

    All three are volumes on one grid (the mask an array of it); the answer lies on it, too, in the
    units of the reference. Each raises VolumeError where source or reference is constant.
    """
    moves = {f"{SHIFTED} {n} px": shifted(n, slice_axis_code) for n in SHIFTS}
    return {
        "source itself": source_itself,
        "source inverted": source_inverted,
        "best linear map of source": linear_map,
        **moves,
    }


def answered(
    source: Volume, reference: Volume, mask: Mask, slice_axis_code: str
) -> Iterator[tuple[str, Volume]]:
    """Every trivial answer with its name, one after another."""
    for name, answer in trivial_answers(slice_axis_code).items():
        yield name, answer(source, reference, mask)


def _as_seen(source: Volume) -> Array:
    """(I,J,K) in [-1,1]: the source as a network sees it."""
    return np.clip(_scaling(source).apply(source.array), -1, 1)


def _answered(image: Array, source: Volume, reference: Volume) -> Volume:
    """``image`` where the source has tissue, background elsewhere; in units of ``reference``."""
    empty = background(source.array)
    tissue = ~empty if empty.any() else foreground(source.array)
    return reference.with_array(_scaling(reference).undo(np.where(tissue, image, -1.0)))


def _scaling(volume: Volume) -> Scaling:
    return percentile_scaling(volume.array, CLIPPED_AT, volume.name)
