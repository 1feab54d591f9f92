"""What a new training begins with: the weights of other runs, of a package or of a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from torch import Tensor, nn

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.methods.mstg.ddm_names import from_ddm, is_ddm
from MambaSynthLib.model.card import ContrastCard
from MambaSynthLib.model.package import ModelPackage
from MambaSynthLib.model.registry import find_model
from MambaSynthTraining.contrast.rivals.ncsnpp import NCSNpp
from MambaSynthTraining.contrast.rivals.published import from_cyclegan, from_syndiff
from MambaSynthTraining.data.batches import TrainingData
from MambaSynthTraining.methods import method_class
from MambaSynthTraining.recipe import Recipe
from MambaSynthTraining.run_folder import RUN
from MambaSynthTraining.runs import TrainedRun, open_run


class Start(Protocol):
    """A trained network whose layers are those of the recipe's exported one, or of parts of it."""

    def weights(self) -> dict[str, Tensor]:
        """Name -> values, on the CPU. Raises FileError or ModelError: they cannot be read."""
        ...

    def about(self) -> dict[str, Any]:
        """For the record of the run, whose card repeats it."""
        ...


@dataclass(frozen=True)
class PackageStart:
    """A model package, whose float16 weights become float32 again."""

    package: ModelPackage

    def weights(self) -> dict[str, Tensor]:
        tensors = {name: torch.from_numpy(a) for name, a in self.package.read_weights().items()}
        return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}

    def about(self) -> dict[str, Any]:
        card = self.package.card
        return {
            "package": card.id,
            "version": card.version,
            "weights_sha256": card.weights_sha256,
            "license": card.license,
            "trained_on": card.trained_on,
        }


@dataclass(frozen=True)
class MeanStart:
    """Runs that began with one another, or with the same: the mean of their weights is often better
    than each of them (Wortsman et al., Model soups, ICML 2022).

    Raises RequestError: their networks differ.
    """

    runs: tuple[TrainedRun, ...]

    def __post_init__(self) -> None:
        first, *others = self.runs
        for other in others:
            different = _first_difference(first.weights(), other.weights())
            if different:
                raise RequestError(
                    f"{other.folder}: its layers are not those of {first.folder} ({different}); "
                    "give runs of one network."
                )

    def weights(self) -> dict[str, Tensor]:
        """A part that one of them has not begins on its own; counts of batches are the first's."""
        each = [run.weights() for run in self.runs]
        return {
            name: torch.stack([weights[name] for weights in each]).mean(dim=0)
            if value.is_floating_point() else value
            for name, value in each[0].items() if all(name in weights for weights in each)
        }  # fmt: skip

    def about(self) -> dict[str, Any]:
        return {"mean_of": [run.about() for run in self.runs]}


@dataclass(frozen=True)
class CheckpointStart:
    """What another program's training saved of the generator that the recipe exports.

    CRAViM's names are ours; those of CycleGAN, SynDiff and DDM are translated.
    """

    path: Path
    method: str
    network: nn.Module

    def weights(self) -> dict[str, Tensor]:
        from MambaSynthLib.backends.torch_backend import read_checkpoint

        weights = {name: torch.from_numpy(a) for name, a in read_checkpoint(self.path).items()}
        if self.method == "cyclegan":
            return from_cyclegan(weights)
        if self.method == "syndiff" and isinstance(self.network, NCSNpp):
            return from_syndiff(weights, self.network.config)
        return from_ddm(weights) if is_ddm(weights) else weights

    def about(self) -> dict[str, Any]:
        with open(self.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"checkpoint": self.path.name, "weights_sha256": digest}


def start_of(runs: Sequence[Path], init: str | None, recipe: Recipe) -> Start | None:
    """The start that a command names: a run, however far it has come, several of them, a model by
    its id or folder, the file of a checkpoint, or none.

    Raises
    ------
    FileError: the folder holds no run. ModelError: there is no such package, or it is damaged, or
        the file is no checkpoint.
    RequestError: its layers are not those of the recipe's network.
    """
    start: Start
    if runs:
        opened = tuple(open_run(run, unfinished=True) for run in runs)
        start, name = opened[0] if len(opened) == 1 else MeanStart(opened), str(runs[0])
        remedy = "give the recipe of that run"
    elif init is not None and Path(init).is_file():
        start, name = CheckpointStart(Path(init), recipe.method, _exported(recipe)), init
        remedy = "give its sizes by --set network.<size>=<number>"
    elif init is not None:
        start, name = PackageStart(find_model(init)), init
        sizes = yaml.safe_dump(start.package.card.network, default_flow_style=True, width=1000)
        remedy = f"give the sizes of its card, --set 'network={sizes.strip()}',"
    else:
        return None
    different = _first_difference(_exported(recipe).state_dict(), start.weights())
    if different:
        raise RequestError(
            f"{name}: its layers are not those of this recipe's network ({different}); {remedy} "
            "or choose another start."
        )
    return start


def remarks(start: Start | None, data: TrainingData) -> list[str]:
    """What a package was trained for and these data are not, and what a checkpoint lacks."""
    if isinstance(start, CheckpointStart):
        return [f"{start.path.name}: has one generator; what else the method trains begins anew"]
    if not isinstance(start, PackageStart) or not isinstance(start.package.card, ContrastCard):
        return []
    card, about, found = start.package.card, data.about(), []
    ours = [about.get(f"{end}_contrast") for end in ("source", "target")]
    if [*card.source_contrasts, *card.target_contrasts] != ours:
        found.append(f"{card.id}: was trained {card.direction}, this run {ours[0]} -> {ours[1]}")
    rule = data.settings().get("intensity", {}).get("rule")
    if rule != card.intensity.rule:
        found.append(f"{card.id}: knows intensities by the rule {card.intensity.rule}, not {rule}")
    return found


def _exported(recipe: Recipe) -> nn.Module:
    with torch.device("meta"):  # names and shapes alone; nothing is allocated
        method = method_class(recipe.method).build(recipe)
    network: nn.Module = method.networks[method.exported]
    return network


def _first_difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    """Whole parts that the start has not, such as an interval, may begin on their own."""
    parts = {key.partition(".")[0] for key in theirs}
    for key in ours:
        if key not in theirs:
            if key.partition(".")[0] not in parts:
                continue
            return f"it lacks {key}"
        if ours[key].shape != theirs[key].shape:
            sizes = (" x ".join(map(str, each[key].shape)) for each in (theirs, ours))
            return f"{key} is {next(sizes)}, the recipe's {next(sizes)}"
    surplus = [key for key in theirs if key not in ours]
    return f"the recipe has no {surplus[0]}" if surplus else ""


def check_same_start(run: Path, former: Mapping[str, Any], start: Start | None) -> None:
    """A run that goes on was begun as this command says, or no start is named.

    Raises FileError.
    """
    if start is None:
        return
    begun, wanted = former.get("start", {}), start.about()
    if not begun or _hashes(begun) != _hashes(wanted):
        several, one = begun.get("mean_of"), "another run" if begun else "weights of its own"
        own = f"the mean of {len(several)} runs" if several else one
        with_what = begun.get("package") or begun.get("checkpoint") or own
        raise FileError(
            f"{run / RUN}: the run in this folder began with {with_what}; choose another folder "
            "for this start."
        )


def _hashes(about: Mapping[str, Any]) -> list[str | None]:
    """Of the weights that a start is made of."""
    parts = about.get("mean_of", [about])
    return [part.get("weights_sha256") or part.get("checkpoint_sha256") for part in parts]
