"""Is one row better than another? Paired t-tests over subjects, never over slices.

Slices of one person are alike, so counting them as independent makes any difference significant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NO_TEST = "no test possible"


@dataclass(frozen=True)
class Test:
    """A two-sided paired t-test; ``p`` is None where none is possible, and ``reason`` says why."""

    p: float | None
    reason: str = ""


def paired_t_test(first: Mapping[str, float], second: Mapping[str, float]) -> Test:
    """Over the keys (subjects) that both have."""
    from scipy.stats import ttest_rel

    shared = [key for key in first if key in second]
    a, b = ([values[key] for key in shared] for values in (first, second))
    if len(shared) < 2:
        return Test(None, f"{NO_TEST}: n = {len(shared)}")
    differences = [x - y for x, y in zip(a, b, strict=True)]
    if max(differences) - min(differences) <= 1e-12 * max(map(abs, differences), default=0):
        return Test(None, f"{NO_TEST}: all differences are equal")
    return Test(float(ttest_rel(a, b).pvalue))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction of those that are not None, in their places.

    The k-th smallest of m is multiplied by m - k (k from 0), never below its predecessor, at most
    1 (Holm 1979).
    """
    order = sorted((p, n) for n, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for k, (p, n) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - k)))
        corrected[n] = largest
    return corrected
