"""Many forms of all examples, drawn once before a training and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError, VolumeError
from MambaSynthLib.io.atomic import telling, write_whole
from MambaSynthLib.methods.maskunet.config import OUTPUTS
from MambaSynthTraining.mask.draws import SHAPE, Draw, Example, draw

DRAWS = "draws.npz"
SHARES = {"head T1w": 6, "head T2w": 5, "head FLAIR": 3, "brain T1w": 2, "phantom T1w": 2,
          "phantom T2w": 3, "phantom FLAIR": 2, "phantom any": 2}  # fmt: skip
USUAL_SHARE = 1.0

Say = Callable[[str], None]
Drawn = tuple[NDArray[np.float16], NDArray[np.uint8]]


def draw_all(examples: Sequence[Example], count: int, seed: int, say: Say) -> Drawn:
    """(count,64,80,72) images and (count,2,64,80,72) masks from 0 to 255."""
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example)
    shares = np.array([SHARES.get(group, USUAL_SHARE) for group in groups])
    images = np.zeros((count, *SHAPE), np.float16)
    masks = np.zeros((count, len(OUTPUTS), *SHAPE), np.uint8)
    for n in range(count):
        rng = np.random.default_rng((seed, n))
        members = list(groups.values())[rng.choice(len(groups), p=shares / shares.sum())]
        found = _drawn(members[rng.integers(len(members))], rng)
        images[n], masks[n] = found.image, found.masks
        if (n + 1) % 100 == 0:
            say(f"drawn: {n + 1} of {count}")
    return images, masks


def keep_draws(path: Path, drawn: Drawn) -> None:
    """Write them to be read by ``read_draws``. Raises FileError."""
    images, masks = drawn
    with telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda stream: np.savez(stream, images=images, masks=masks))


def read_draws(path: Path, count: int) -> Drawn:
    """What ``keep_draws`` wrote. Raises FileError for anything else, or another number of them."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            images, masks = stored["images"], stored["masks"]
    except (OSError, ValueError, KeyError) as error:
        raise FileError(f"{path}: holds no draws; delete it.") from error
    if len(images) != count:
        raise FileError(f"{path}: holds {len(images)} draws, not {count}; delete it.")
    return images, masks


def _drawn(example: Example, rng: np.random.Generator) -> Draw:
    while True:
        try:
            return draw(example, rng)
        except VolumeError:  # nothing was left of it
            continue
