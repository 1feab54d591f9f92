"""What can be scored: anything that makes a target volume of a source volume.

A model package, and a run of CRAViM, go through the library's Engine, so that what is scored is
what Slicer runs. The baselines' networks are no packages; ``synthesize_volume`` leads them through
the same preparation, slice by slice and back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from MambaSynthLib.backends.torch_backend import choose_device
from MambaSynthLib.engine import Engine, contrast_card
from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.intensity import Scaling
from MambaSynthLib.image.preparation import prepare
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.model.card import GridSpec, IntensitySpec
from MambaSynthLib.model.package import CARD, ModelPackage, read_package
from MambaSynthTraining.data.label_map import LabelMap
from MambaSynthTraining.data.prepared import PreparedData
from MambaSynthTraining.runs import open_run

if TYPE_CHECKING:
    from MambaSynthTraining.method import ContrastMethod

NETWORK_RANGE = Scaling.of_range(-1, 1)
BATCH = 8


@dataclass(frozen=True)
class Pair:
    """The registered volumes of one subject, and their tissues where somebody knows them."""

    subject: str
    source: Volume
    target: Volume
    labels: LabelMap | None = None


class Candidate(Protocol):
    """``random`` says whether a seed changes the result."""

    random: bool
    about: dict[str, Any]  # what people want to know: settings, parameters, minutes of training

    @property
    def name(self) -> str:
        """What a table calls it."""
        ...

    def synthesize(self, pair: Pair, seed: int) -> Volume:
        """The target on the source's grid, in the network's range; background is -1."""
        ...


@dataclass
class Packaged:
    """A model package, by the Engine."""

    name: str
    engine: Engine
    steps: int
    samples: int
    about: dict[str, Any] = field(default_factory=dict)
    random: bool = True

    def synthesize(self, pair: Pair, seed: int) -> Volume:
        card = self.engine.card
        made = self.engine.synthesize(
            {card.source_contrasts[0]: pair.source},
            steps=self.steps, samples=self.samples, seed=seed, pixel_mark=False,
        ).volumes[card.target_contrasts[0]]  # fmt: skip
        return made.with_array(Scaling.of_range(*card.intensity.target_range).apply(made.array))


@dataclass
class Wrapped:
    """A method of contrasts with a run's averaged weights, in eval mode."""

    name: str
    method: ContrastMethod
    grid: GridSpec
    intensity: IntensitySpec
    about: dict[str, Any] = field(default_factory=dict)
    random: bool = True
    device: str = "cpu"  # that the method's networks are on

    def synthesize(self, pair: Pair, seed: int) -> Volume:
        spec = self.grid, self.intensity
        return synthesize_volume(self.method, pair.source, *spec, seed, self.device)


def synthesize_volume(
    method: ContrastMethod,
    source: Volume,
    grid: GridSpec,
    intensity: IntensitySpec,
    seed: int,
    device: str = "cpu",
) -> Volume:
    """A volume through a method of contrasts: prepared, sliced, restored as by the Engine."""
    import torch

    preparation = prepare(source, grid, intensity)
    array = preparation.blank(NETWORK_RANGE)
    generator = torch.Generator().manual_seed(seed)
    wanted = np.flatnonzero(preparation.tissue_slices())
    for start in range(0, len(wanted), BATCH):
        chosen = wanted[start : start + BATCH]
        batch = torch.from_numpy(preparation.slices(chosen)[:, None]).to(device)  # (B,1,H,W)
        with torch.no_grad():
            slices = method.synthesize(batch, generator)[:, 0].float().cpu().numpy()
        preparation.write(array, chosen, slices, NETWORK_RANGE)
    return source.with_array(array, f"{source.name} synthetic")


@contextmanager
def open_candidate(
    path: Path,
    data: PreparedData,
    steps: int | None,
    samples: int | None,
    device: str = "auto",
    name: str = "",
) -> Iterator[Candidate]:
    """The candidate in a folder: a model package or a training run.

    Raises
    ------
    FileError, ModelError: the folder is neither, or damaged.
    RequestError: the model has another direction than the data, or takes no steps.
    """
    if (path / CARD).is_file():
        yield _packaged(read_package(path), data, steps, samples, device, name)
        return
    run = open_run(path)
    if run.kind != "contrast":
        raise RequestError(
            f"{path}: is a run of {run.method}, which learns from {run.kind} data; name "
            "data of its kind."
        )
    run, name = run.toward(*data.contrasts[:2]), name or run.name
    if run.exportable:
        from MambaSynthTraining.export import draft

        with tempfile.TemporaryDirectory() as folder:
            package = draft(run, Path(folder) / "draft")
            candidate = _packaged(package, data, steps, samples, device, name)
            yield Packaged(name, candidate.engine, candidate.steps, candidate.samples,
                           candidate.about | run.about())  # fmt: skip
        return
    if steps is not None or samples is not None:
        raise RequestError(f"{path}: {run.method} has no choice of steps and samples; leave them.")
    with run.trained() as method:
        place = choose_device(device)
        method.networks.to(place)
        about = run.about() | {"device": place}
        yield Wrapped(name, method, data.grid, data.intensity, about, device=place)


def _packaged(
    package: ModelPackage,
    data: PreparedData,
    steps: int | None,
    samples: int | None,
    device: str,
    name: str,
) -> Packaged:
    card = contrast_card(package)
    if (card.source_contrasts[0], card.target_contrasts[0]) != data.contrasts[:2]:
        raise RequestError(
            f"{card.id}: synthesizes {card.direction}, but the data hold "
            f"{' -> '.join(data.contrasts[:2])}; choose other data."
        )
    steps = card.sampling.default_steps if steps is None else steps
    samples = card.sampling.default_samples if samples is None else samples
    label = f"{steps} step{'s' * (steps > 1)} x {samples} draw{'s' * (samples > 1)}"
    about = {"settings": label, "weights_sha256": package.weights_sha256}
    return Packaged(name or card.id, Engine(package, device), steps, samples, about)
