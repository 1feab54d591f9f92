"""How often the mark is seen in vain: wrong keys on unmarked slices of real people.

    python -m Testing.survival.false_alarms [--readme README.md] [--trials 10000] [--data FOLDER]

The phases of each key are as good as random, so each trial is independent of the others, and ten
thousand keys on real slices are what ten thousand marks would have met. Each trial is a whole blind
search, over all scales, turns and shifts, of one slice; all of them take most of an hour.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from MambaSynthLib.io.files import read_volume
from MambaSynthLib.watermark.detection import NARROWEST, SURE, Projection
from MambaSynthLib.watermark.pattern import pattern_of
from MambaSynthLib.watermark.texture import Levels
from MambaSynthTraining.evaluation.marked_text import put_into_block
from Testing.survival.pixel_mark import DATA, table

COMMAND = "python -m Testing.survival.false_alarms"
UNMARKED = (
    "brain_t1_t2/registered_1mm/*/*.nii.gz", "brain_t1_t2/clinical_2d/*/*.nii.gz",
    "brain_t1_t2/tcga_*/*.nii.gz", "brain_t1_t2/msd_brats_001/T*.nii.gz",
    "brain_t1_only/ixi_hh_2mm/*.nii.gz", "brain_t2_only/arc/**/*.nii.gz",
)  # fmt: skip


def some_slices(data: Path, count: int) -> Iterator[Projection]:
    """About so many slices that show something, of any axis, evenly from all volumes."""
    rng = np.random.default_rng(3)
    paths = sorted(path for pattern in UNMARKED for path in data.glob(pattern))
    for path in paths:
        volume = read_volume(path)
        levels = Levels.of(volume.array)
        for _ in range(-(-count // len(paths))):
            image, axis = np.zeros((1, 1), np.float32), 0
            while min(image.shape) < NARROWEST or _is_empty(image, levels):
                axis = int(rng.integers(3))
                image = volume.array.take(int(rng.integers(volume.shape[axis])), axis)
            height, width = np.delete(volume.spacing, axis)
            unit = max(height, width)
            one = image[None]
            yield Projection.of(one, Levels.of(one), (height / unit, width / unit))


def _is_empty(image: np.ndarray, levels: Levels) -> bool:
    return bool((np.abs(image - levels.center) > 0.05 * levels.span).mean() < 0.05)


def false_alarms(data: Path, trials: int) -> dict[str, str]:
    """The highest scores of wrong keys on real slices; each trial is a whole blind search."""
    highest = [
        side.best(side.scales(), pattern_of(f"wrong key {trial}")).score
        for trial, side in enumerate(some_slices(data, trials))
    ]
    scores = np.sort(highest)
    location, scale = _gumbel(scores)
    chance = -np.expm1(-np.exp(-(SURE - location) / scale))
    return {
        "trials, each a slice and a key": str(len(scores)),
        "false alarms, at a threshold of 7.6": str(int((scores >= SURE).sum())),
        "median of the highest scores": f"{np.median(scores):.2f}",
        "highest score of all": f"{scores[-1]:.2f}",
        "false alarms in 10,000 by a Gumbel law fitted to the scores": f"{1e4 * chance:.2g}",
    }


def _gumbel(scores: np.ndarray) -> tuple[float, float]:
    """By moments."""
    scale = scores.std() * np.sqrt(6) / np.pi
    return float(scores.mean() - np.euler_gamma * scale), float(scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readme", type=Path, help="put the table into its block")
    parser.add_argument("--trials", type=int, default=10_000, help="wrong keys on real slices")
    parser.add_argument("--data", type=Path, default=DATA, help="a folder with real heads")
    options = parser.parse_args()
    alarms = false_alarms(options.data, options.trials)
    text = table("wrong keys", {"on unmarked real slices": alarms})
    print(text)
    if options.readme:
        put_into_block(options.readme, COMMAND, text)


if __name__ == "__main__":
    main()
