"""A made-up T1w head with neck: a cylinder of muscle, a brain, a cord, and eyes where asked for."""

from __future__ import annotations

import numpy as np

from MambaSynthLib.image.intensity import MEDIANS
from MambaSynthTraining.data import head_necks

SLICE_MM = 2.0
SHAPE = (70, 150, 120)  # slices from below, rows to the back, columns to the left
ROW, COLUMN = 62, 60  # of the cord where it leaves the brain
CORD = 1.1  # medians
LOW = 36  # lowest slice of the brain without cord
MUSCLE = -0.7  # 0.6 medians
EYES = [(50, 34, 30), (51, 34, 90)]  # slice, row and column of their middles
FAT, VITREOUS, LENS = 1.6, 0.3, 0.9  # medians


def leaning(n):
    """The row of the cord in slice n."""
    return ROW + 0.6 * (LOW - n)


def head() -> tuple[np.ndarray, np.ndarray]:
    """A cylinder of muscle with a brain of median brightness in its upper half, and a cord in dark
    fluid that leans back; the mask of the brain holds some of the cord.
    """
    n, i, j = np.indices(SHAPE)
    inside = (i - 75) ** 2 / 70**2 + (j - 60) ** 2 / 55**2 < 1
    brain = (n >= LOW) & (n < 65) & ((i - 80) ** 2 + (j - 60) ** 2 < 38**2)
    away = (i - leaning(n)) ** 2 + (j - COLUMN) ** 2
    stack = np.where(inside, np.float32(MUSCLE), np.float32(-1.0))
    stack[(n < LOW) & (away < 9.5**2)] = CORD * head_necks.FLUID_T1W * 2 / MEDIANS - 1
    cord = (n < LOW) & (away < 5**2)
    stack[cord] = CORD * 2 / MEDIANS - 1
    stack[brain] = 2 / MEDIANS - 1
    return stack.astype(np.float32), brain | (cord & (n >= LOW - 8))


def head_with_eyes(fluid: float = VITREOUS) -> tuple[np.ndarray, np.ndarray]:
    """The same with balls of ``fluid`` medians in fat, and a lens in front of each."""
    stack, brain = head()
    n, i, j = np.indices(SHAPE)
    for k, row, column in EYES:
        away = ((n - k) * SLICE_MM) ** 2 + (i - row) ** 2 + (j - column) ** 2
        lens = ((n - k) * SLICE_MM) ** 2 + (i - row + 9) ** 2 + (j - column) ** 2 < 3**2
        stack[(away < 20**2) & (stack > -1) & ~brain] = FAT * 2 / MEDIANS - 1
        stack[away < 12**2] = fluid * 2 / MEDIANS - 1
        stack[lens] = LENS * 2 / MEDIANS - 1
    return stack, brain
