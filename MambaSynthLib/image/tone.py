"""White and gray matter as far apart in each T1w head as in any other.

    volume --middle of the head--> Otsu's thresholds --medians--> W/G --> gamma
    brightness v, in medians above black: v^gamma up to KNEE, and on beside it in a straight line

How bright white matter is beside gray depends on the sequence: 1.2 times in a spin echo series of
the clinic, 1.4 times in an MPRAGE. A network that learns of few scanners takes such gray matter for
white. Nyul and Udupa (Magn Reson Med 1999) bring the histograms of all heads to one; here it is one
number of it. Beyond white matter nothing is bent, as fat would leave the network's range.

| symbol | code                  | meaning                                                        |
|--------|-----------------------|----------------------------------------------------------------|
| W/G    | ``white_over_gray``   | median of the brightest of three classes over that of the next |
| gamma  | ``Toned.gamma``       | log(wanted W/G) / log(W/G), within ``GAMMAS``                  |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.intensity import MEDIANS, Scaling, middle_of_head, scaling_by
from MambaSynthLib.image.volume import Volume

Floats = NDArray[np.float32]

KNEE = 1.25  # medians: about white matter
GAMMAS = (0.5, 2.0)  # whatever a volume shows
BRIGHTEST = 2.0  # medians: what is brighter is no brain
BINS = 256
LEAST = 1e-3  # of the logarithm of W/G: no contrast at all


@dataclass(frozen=True)
class Toned(Scaling):
    """A scaling by the median of the head, bent by ``gamma``; 1 bends nothing."""

    gamma: float

    @classmethod
    def of(cls, volume: Volume, wanted: float) -> Toned:
        """That which makes white matter ``wanted`` times as bright as gray.

        Raises VolumeError: all voxels are (nearly) the same.
        """
        low, values = middle_of_head(volume)
        plain = scaling_by(low, values)
        gamma = np.log(wanted) / max(np.log(white_over_gray(values - low)), LEAST)
        return cls(plain.center, plain.half_width, float(np.clip(gamma, *GAMMAS)))

    def apply(self, array: Floats) -> Floats:
        v = (super().apply(array) + 1) * np.float32(MEDIANS / 2)
        bent = np.clip(v, 0, KNEE) ** np.float32(self.gamma) + np.maximum(v - KNEE, 0)
        scaled: Floats = (bent * np.float32(2 / MEDIANS) - 1).astype(np.float32)
        return scaled

    def undo(self, array: Floats) -> Floats:
        bent = (np.asarray(array, np.float32) + 1) * np.float32(MEDIANS / 2)
        knee = np.float32(KNEE**self.gamma)
        v = np.clip(bent, 0, knee) ** np.float32(1 / self.gamma) + np.maximum(bent - knee, 0)
        return super().undo((v * np.float32(2 / MEDIANS) - 1).astype(np.float32))


def white_over_gray(values: Floats) -> float:
    """How bright white matter is beside gray, of ``values`` above black in the middle of a T1w
    head; 1 or more.
    """
    v = values[(values > 0) & (values < BRIGHTEST * np.median(values))]
    if not v.size:
        return 1.0
    low, high = otsu_thresholds(v)
    gray, white = v[(v >= low) & (v < high)], v[v >= high]
    return float(np.median(white) / np.median(gray)) if gray.size and white.size else 1.0


def otsu_thresholds(values: NDArray[np.floating]) -> tuple[float, float]:
    """The two that leave least variance within three classes (Otsu 1979, sec. V); each is the
    least value of its class. scikit-image, which the engine does without, names the middle of a
    class's last bin.
    """
    counts, edges = np.histogram(values, BINS)
    centers = (edges[:-1] + edges[1:]) / 2
    weight = np.concatenate([[0.0], np.cumsum(counts)])
    moment = np.concatenate([[0.0], np.cumsum(counts * centers)])

    def between(first: NDArray[np.intp], last: NDArray[np.intp]) -> NDArray[np.float64]:
        """What the class of the bins [first, last) adds to the variance between classes."""
        n, m = weight[last] - weight[first], moment[last] - moment[first]
        added: NDArray[np.float64] = np.divide(m * m, n, out=np.zeros_like(m), where=n > 0)
        return added

    one, two = np.triu_indices(BINS + 1, 1)
    start, end = np.zeros_like(one), np.full_like(one, BINS)
    best = int(np.argmax(between(start, one) + between(one, two) + between(two, end)))
    return float(edges[one[best]]), float(edges[two[best]])
