"""From tissue to signal: the textbook equations of five pulse sequences.

| symbol | code         | unit | meaning                                              |
|--------|--------------|------|------------------------------------------------------|
| T1, T2 | ``t1, t2``   | ms   | relaxation times, arrays of one shape                |
| rho    | ``pd``       | -    | proton density, an array of the same shape           |
| TR     | ``tr``       | ms   | repetition time                                      |
| TE     | ``te``       | ms   | echo time                                            |
| TI     | ``ti``       | ms   | inversion time                                       |
| alpha  | ``flip``     | deg  | flip angle                                           |
| tau, N | ``echo_spacing, echoes`` | ms, - | the MPRAGE readout: N pulses, tau apart |

All are magnitudes in units of rho. T2 stands in for T2* in the gradient echoes, whose echo times
are so short that it does not matter. Sources: Bernstein, King, Zhou, Handbook of MRI Pulse
Sequences (2004), chapters 14 and 16; Deichmann et al., NeuroImage 12:112 (2000) for MPRAGE.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import RequestError

Array = NDArray[np.floating]
CONTRASTS = ("T1w", "T2w", "PDw", "FLAIR")


def spin_echo(t1: Array, t2: Array, pd: Array, *, tr: float, te: float) -> Array:
    """S = rho (1 - e^(-TR/T1)) e^(-TE/T2), for TE << TR."""
    signal: Array = pd * -np.expm1(-tr / t1) * np.exp(-te / t2)
    return signal


def inversion_recovery(
    t1: Array, t2: Array, pd: Array, *, tr: float, te: float, ti: float
) -> Array:
    """S = rho |1 - 2 e^(-TI/T1) + e^(-TR/T1)| e^(-TE/T2), for TE << TR."""
    signal: Array = pd * np.abs(1 - 2 * np.exp(-ti / t1) + np.exp(-tr / t1)) * np.exp(-te / t2)
    return signal


def spoiled_gradient_echo(
    t1: Array, t2: Array, pd: Array, *, tr: float, te: float, flip: float
) -> Array:
    """S = rho sin(alpha) (1 - E1) / (1 - cos(alpha) E1) e^(-TE/T2), E1 = e^(-TR/T1) (Ernst)."""
    sin_alpha, cos_alpha = _sin_cos(flip)
    e1 = np.exp(-tr / t1)
    signal: Array = pd * sin_alpha * (1 - e1) / (1 - cos_alpha * e1) * np.exp(-te / t2)
    return signal


def mprage(
    t1: Array, t2: Array, pd: Array, *, tr: float, te: float, ti: float, flip: float,
    echo_spacing: float, echoes: int,
) -> Array:  # fmt: skip
    """S = rho sin(alpha) |m(N/2)| e^(-TE/T2): the magnetization at the middle of the readout.

    One period of length TR is: inversion, wait A, N pulses, wait B; TI points at the middle of the
    readout. Each step is a map m -> a m + b, so the steady state before inversion is a fixed point.
    """
    sin_alpha, cos_alpha = _sin_cos(flip)
    wait_a = ti - echoes * echo_spacing / 2
    wait_b = tr - wait_a - echoes * echo_spacing
    e_a, e_b, e_tau = (np.exp(-wait / t1) for wait in (wait_a, wait_b, echo_spacing))
    per_pulse = cos_alpha * e_tau
    driven = (1 - e_tau) / (1 - per_pulse)  # where endless pulses would lead
    train = per_pulse**echoes
    # m -> 1 - (1 + m) e_a -> driven + (. - driven) train -> 1 - (1 - .) e_b
    slope = -e_a * train * e_b
    offset = 1 - (1 - driven - (1 - e_a - driven) * train) * e_b
    before_inversion = offset / (1 - slope)
    at_readout = 1 - (1 + before_inversion) * e_a
    at_center = driven + (at_readout - driven) * per_pulse ** (echoes / 2)
    signal: Array = pd * sin_alpha * np.abs(at_center) * np.exp(-te / t2)
    return signal


def _sin_cos(degrees: float) -> tuple[float, float]:
    """As Python floats, which leave float32 arrays float32."""
    return math.sin(math.radians(degrees)), math.cos(math.radians(degrees))


def null_inversion_time(t1: float, tr: float) -> float:
    """TI in ms at which ``inversion_recovery`` gives no signal: T1 ln(2 / (1 + e^(-TR/T1)))."""
    return t1 * math.log(2 / (1 + math.exp(-tr / t1)))


@dataclass(frozen=True)
class Protocol:
    """A pulse sequence with its parameters, as a technician would store it."""

    equation: Callable[..., Array]
    parameters: Mapping[str, float]

    def signal(self, t1: Array, t2: Array, pd: Array) -> Array:
        """Magnitude signal for relaxation times in ms, same shape as given."""
        return self.equation(t1, t2, pd, **self.parameters)


def draw_protocol(
    contrast: str, field_tesla: float, fluid_t1: float, rng: np.random.Generator
) -> Protocol:
    """A clinically usual protocol for ``contrast`` at 1.5 T or 3 T.

    ``fluid_t1`` (ms) is the T1 of cerebrospinal fluid that FLAIR must null.

    Raises
    ------
    RequestError: there is no equation for this contrast.
    """
    if contrast == "T1w":
        return _draw_t1w(field_tesla, rng)
    if contrast == "T2w":
        return Protocol(spin_echo, {"tr": rng.uniform(3500, 7000), "te": rng.uniform(80, 120)})
    if contrast == "PDw":
        return Protocol(spin_echo, {"tr": rng.uniform(2500, 4000), "te": rng.uniform(10, 30)})
    if contrast == "FLAIR":
        tr = rng.uniform(7000, 11000)
        ti = null_inversion_time(fluid_t1, tr) * rng.uniform(0.97, 1.03)
        return Protocol(inversion_recovery, {"tr": tr, "te": rng.uniform(90, 130), "ti": ti})
    raise RequestError(
        f"{contrast}: is a contrast without a signal equation; choose among {', '.join(CONTRASTS)}."
    )


def _draw_t1w(field_tesla: float, rng: np.random.Generator) -> Protocol:
    """One of the four sequences that clinics call T1w."""
    which = rng.integers(4)
    if which == 0:
        return Protocol(spin_echo, {"tr": rng.uniform(400, 700), "te": rng.uniform(8, 15)})
    if which == 1:
        flip = rng.uniform(20, 30) if field_tesla < 2 else rng.uniform(18, 25)
        parameters = {"tr": rng.uniform(15, 25), "te": rng.uniform(2, 5), "flip": flip}
        return Protocol(spoiled_gradient_echo, parameters)
    if which == 2:
        parameters = {"tr": rng.uniform(1900, 2400), "ti": rng.uniform(900, 1050)}
        parameters |= {"te": rng.uniform(2, 4), "flip": rng.uniform(7, 10)}
        parameters |= {"echo_spacing": rng.uniform(6.5, 8), "echoes": 176}
        return Protocol(mprage, parameters)
    parameters = {"tr": rng.uniform(1800, 2400), "te": rng.uniform(8, 20)}
    return Protocol(inversion_recovery, parameters | {"ti": rng.uniform(800, 950)})
