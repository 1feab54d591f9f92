"""Where doubt and refusal begin: chosen on people who are neither learned from nor scored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.gate.network import Gate, Threshold
from MambaSynthLib.gate.questions import FITTING, QUESTIONS
from MambaSynthTraining.gate.draws import NOT_ASKED

ALARMS = 0.02  # of the fitting draws that each question may doubt
HIGHEST, LOWEST = 0.4, 0.02
REFUSED = 0.25  # of the threshold of doubt

Shares = NDArray[np.float64]


def fitting_shares(gate: Gate, looks: NDArray[np.float16], answers: NDArray[np.int64]) -> Shares:
    """(n,questions) probability that a draw fits, by each question; NaN where it does not fit, or
    the question is not asked.

    By "contrast" every draw fits a model of its own contrast.
    """
    shares = np.full(answers.shape, np.nan)
    for n, (look, right) in enumerate(zip(looks, answers, strict=True)):
        found = gate.answers(look.astype(np.float32))
        for at, (question, number) in enumerate(zip(QUESTIONS, right.tolist(), strict=True)):
            name = QUESTIONS[question][number] if number != NOT_ASKED else ""
            wanted = FITTING.get(question, (name,))
            if number != NOT_ASKED and name in wanted:
                shares[n, at] = sum(found[question][answer] for answer in wanted)
    return shares


def chosen_thresholds(shares: Shares) -> dict[str, Threshold]:
    """Question -> thresholds under which few fitting draws fall."""
    found = {}
    for question, column in zip(QUESTIONS, shares.T, strict=True):
        low = float(np.nanquantile(column, ALARMS))
        doubtful = round(float(np.clip(low, LOWEST, HIGHEST)), 3)
        found[question] = Threshold(doubtful, round(doubtful * REFUSED, 4))
    return found
