"""Frames at wanted times from a motion that is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine.motion import PairMotion
from MambaSynthLib.cine.network_frames import NetworkMotion
from MambaSynthLib.cine.timing import Course
from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.volume import Volume

Array = NDArray[np.float32]
Motion = PairMotion | NetworkMotion


def iterate_frames(
    motion: Motion,
    ed: Volume,
    es: Volume,
    fractions: Sequence[float],
    course: Course,
    with_fields: bool = False,
) -> Iterator[tuple[Volume, Array | None]]:
    """Each frame, and its field where asked for; ED and ES themselves at 0 and 1.

    Raises RequestError for a fraction beyond.
    """
    check_fractions(fractions)
    name = f"{ed.name} synthetic cine"
    ends: dict[float, Volume] = {0.0: ed, 1.0: es}
    if np.array_equal(ed.array, es.array):
        ends = dict.fromkeys(map(float, fractions), ed)
    wanted = [tau for tau in map(float, fractions) if with_fields or tau not in ends]
    made = _made(motion, wanted, course, with_fields)
    for tau in map(float, fractions):
        array, field = next(made) if with_fields or tau not in ends else (None, None)
        end = ends.get(tau)
        yield ed.with_array(array if end is None else end.array, name), field  # type: ignore[arg-type]


def _made(
    motion: Motion, taus: Sequence[float], course: Course, with_fields: bool
) -> Iterator[tuple[Array, Array | None]]:
    if not taus:
        return
    shares = [course(tau) for tau in taus]
    if isinstance(motion, NetworkMotion):
        yield from motion.frames(shares)
        return
    for tau, share in zip(taus, shares, strict=True):
        yield motion.frame(share, tau), motion.field(share, tau) if with_fields else None


def check_fractions(fractions: Sequence[float]) -> None:
    for fraction in fractions:
        if not 0 <= fraction <= 1:  # also refuses NaN
            raise RequestError(
                f"the phase {fraction:g} is not between ED (0) and ES (1); give 0 to 1."
            )
