"""A training run becomes a model package: averaged weights in float16, card filled with scores.

``mambasynth evaluate-set``, or for cine methods ``mambasynth reproduce``,
makes the scores. Without scores of these very weights there is no package: a model whose quality
nobody measured is not shown to anyone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.model.package import CARD, ModelPackage, read_package, write_package
from MambaSynthTraining.methods import card_module
from MambaSynthTraining.run_folder import RUN
from MambaSynthTraining.runs import TrainedRun, open_run

LARGEST_DIFFERENCE = 0.05  # of the images' range; more than float16 weights can explain


@dataclass(frozen=True)
class Description:
    """What people read about a model, besides its numbers; empty: what is usual for the method."""

    id: str
    version: str
    title: str
    trained_on: str
    license: str  # of the weights: an SPDX identifier, or NOASSERTION
    attribution: tuple[str, ...] = ()
    limits: str = ""  # of a contrast: in the place of the usual words; of a cine: after them
    default_steps: int = 0  # of a contrast: network calls; 0: the recipe's
    default_samples: int = 1  # of a contrast: noise draws averaged
    axis_codes: str = "LPS"  # of a cine: columns, rows and slices as the network sees them


def export(
    run_folder: Path,
    folder: Path,
    description: Description,
    scores: Sequence[Path],
    direction: tuple[str, str] | None = None,
) -> ModelPackage:
    """Write the package of a finished run into ``folder``.

    ``scores`` are folders of ``evaluate-set``, those of the trivial answers among them, or of
    ``mambasynth reproduce``. ``direction`` (source, target) may be the second one that the run
    trained.

    Raises
    ------
    RequestError: the run's method has no package, it trained no such direction, there are no
        scores, or none of these weights.
    FileError, ModelError: see ``half_weights`` and ``write_package``.
    """
    run = open_run(run_folder)
    run = run.toward(*direction) if direction else run
    with tempfile.TemporaryDirectory() as place:
        rehearsal = draft(run, Path(place) / "draft")
        method = _card_module(run)
        scored = method.scores(run, rehearsal, scores)
        found = method.parity(run, rehearsal)
    if found["largest_difference"] > LARGEST_DIFFERENCE:
        raise RequestError(
            f"{run_folder}: float16 weights change its output by {found['largest_difference']:.3f} "
            f"of the images' range, more than {LARGEST_DIFFERENCE}; train it further."
        )
    return _write(run, folder, description, scores, scored, found)


def draft(run: TrainedRun, folder: Path) -> ModelPackage:
    """The package of a run before it was scored, for ``evaluate-set`` alone."""
    description = Description("draft", "0.0.0", "draft", "draft", "NOASSERTION")
    return _write(run, folder, description, [], [], {})


def engine_of(folder: Path, place: Path) -> Engine | None:
    """Of a model package, or of a run by its draft, written to ``place``; None for another folder.

    Raises FileError, ModelError: the one or the other is damaged.
    """
    if (folder / CARD).exists():
        return Engine(read_package(folder))
    if (folder / RUN).exists():
        return Engine(draft(open_run(folder), place))
    return None


def _card_module(run: TrainedRun) -> ModuleType:
    """``parts``, ``scores``, ``parity`` and ``readme`` of the run's method."""
    module = card_module(run.method)
    if module is None:
        raise RequestError(
            f"{run.folder}: the library has no network of the method {run.method}, so it has no "
            "package; it can be scored and put into a table."
        )
    return module


def half_weights(run: TrainedRun) -> dict[str, NDArray[Any]]:
    """The averaged weights of the exported network, floats as float16.

    Raises
    ------
    FileError: the run has no readable checkpoint, or a weight does not fit float16.
    """
    weights = {}
    for name, value in run.weights().items():
        array = value.numpy()
        if array.dtype == np.float32:
            with np.errstate(over="ignore"):  # told below
                array = array.astype(np.float16)
            if not np.isfinite(array).all():
                raise FileError(f"{run.folder}: {name} holds values that float16 does not.")
        weights[name] = array
    return weights


def _write(
    run: TrainedRun,
    folder: Path,
    description: Description,
    scores: Sequence[Path],
    scored: list[dict[str, Any]],
    found: dict[str, float],
) -> ModelPackage:
    method, weights = _card_module(run), half_weights(run)
    card = {
        "format": 1,
        "id": description.id,
        "version": description.version,
        "title": description.title,
        "method": run.method,
        "license": description.license,
        **method.parts(run, description, scores),
        "attribution": list(description.attribution),
        "trained_on": description.trained_on,
        "training": {**run.record, "parity": found},
        "scores": scored,
    }
    return write_package(folder, card, weights, method.readme(card, weights))
