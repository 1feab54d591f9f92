"""The course of a heartbeat: how far a ventricle has contracted, as a function of time.

| symbol | code                 | meaning                                                          |
|--------|----------------------|------------------------------------------------------------------|
| t      | ``times_ms``         | time after the R wave; a course repeats after ``period_ms``      |
| s      | ``contraction``      | 0 at end-diastole, 1 at end-systole                              |
| T      | ``es_ms``            | end-systole                                                      |
| t_0    | ``delay_ms``         | isovolumic contraction: the wall hardly moves                    |
| a, b   | ``ejection``         | s = I_x(a, b), x = (t - t_0) / (T - t_0): the regularized        |
|        |                      | incomplete beta function                                         |

After ES early, slow and atrial filling, a monotone cubic through drawn points. The systole's form
is that of ``MambaSynthLib/cine/timing.py``; its numbers are drawn around what ``mambasynth
heart-motion`` measures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.special import betainc

Array = NDArray[np.float64]

FILLING_AT = (0.12, 0.4, 0.65, 0.85)  # of diastole
LONGEST_SYSTOLE = 0.55  # of the period
FLOW_STEP_MS = 10.0


@dataclass(frozen=True)
class Course:
    """What is drawn once per subject."""

    period_ms: float
    es_ms: float
    delay_ms: float
    ejection: tuple[float, float]  # a, b
    filling: tuple[float, float, float, float]  # s at FILLING_AT

    def contraction(self, times_ms: Array | float, pace: Array | float = 1.0) -> Array:
        """s at times within the cycle; ``pace`` stretches systole, as other beats do."""
        times = np.asarray(times_ms, dtype=np.float64)
        es = np.minimum(self.es_ms * np.asarray(pace), LONGEST_SYSTOLE * self.period_ms)
        passed = np.clip((times - self.delay_ms) / (es - self.delay_ms), 0, 1)
        filling = np.clip((times - es) / (self.period_ms - es), 0, 1)
        curve = PchipInterpolator([0, *FILLING_AT, 1], [1, *self.filling, 0])
        return np.where(times <= es, betainc(*self.ejection, passed), curve(filling))

    def flow(self, time_ms: float) -> float:
        """How fast blood moves: |ds/dt|, 1 at its fastest."""
        grid = np.linspace(0, self.period_ms, 201)
        fastest = np.abs(np.gradient(self.contraction(grid), grid)).max()
        around = np.array([max(0.0, time_ms - FLOW_STEP_MS), time_ms + FLOW_STEP_MS])
        low, high = self.contraction(np.minimum(around, self.period_ms))
        return float(min(1.0, abs(high - low) / (around[1] - around[0]) / fastest))


def draw_course(rng: np.random.Generator) -> Course:
    period = rng.uniform(700, 1050)
    return Course(
        period_ms=period,
        es_ms=rng.uniform(0.31, 0.42) * period,
        delay_ms=rng.uniform(15, 45),
        ejection=(rng.uniform(1.4, 2.2), rng.uniform(1.7, 2.7)),
        filling=(
            rng.uniform(0.95, 0.98),
            rng.uniform(0.3, 0.45),
            rng.uniform(0.2, 0.27),
            rng.uniform(0.12, 0.18),
        ),
    )
