"""What a synthetic image is good for: whether a network that knows the acquired contrast finds the
same tissues in it.

A small U-Net (MONAI) learns the label maps of the training people from their acquired targets, and
is then given the acquired and the synthetic target of others. What it reaches on the acquired one
is what a perfect model would.

| symbol | code      | shape   | meaning                                          |
|--------|-----------|---------|--------------------------------------------------|
| P      | ``found`` | (N,H,W) | number of the tissue that the network sees       |
| T      | ``true``  | (N,H,W) | that of the label map; 0: none that has a name   |

    Dice of a tissue = 2 |P and T| / (|P| + |T|)
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet
from numpy.typing import NDArray
from torch import Tensor, nn

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.cine_metrics import dice
from MambaSynthLib.image.preparation import scaling_of
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.atomic import write_whole
from MambaSynthTraining.data.label_map import LabelMap
from MambaSynthTraining.data.prepared import PreparedData
from MambaSynthTraining.evaluation.candidates import Candidate
from MambaSynthTraining.evaluation.score_files import DOWNSTREAM
from MambaSynthTraining.evaluation.scoring import in_view, read_pairs
from MambaSynthTraining.evaluation.writing import write_csv

Stack = NDArray[np.float32]  # (N,H,W) in the network's range
Numbers = NDArray[np.int64]
Progress = Callable[[int, int], None]
WIDTHS = (16, 16, 32, 64, 128, 16)  # channels of the U-Net: 0.4 million values
MULTIPLE = 16  # pixels, of its slices
ITERATIONS, BATCH, RATE, SEED = 800, 8, 2.0e-3, 0
COLUMNS = ("subject", "image", "tissue", "dice")


@dataclass(frozen=True)
class Segmenter:
    """The network, and the tissues whose numbers 1, 2, ... it gives."""

    network: nn.Module
    tissues: tuple[str, ...]

    def segment(self, stack: Stack) -> Numbers:
        """(N,H,W) -> the number of a tissue for each pixel, 0 for none."""
        height, width = stack.shape[1:]
        with torch.no_grad():
            found = [self.network(_padded(image[None], -1.0)).argmax(1) for image in stack]
        return torch.cat(found)[:, :height, :width].numpy()


def segmenter_of(data: PreparedData, file: Path, progress: Progress) -> Segmenter:
    """The one that ``file`` keeps, or a new one, which is kept there.

    Raises RequestError: nobody knows the tissues of the training people. FileError: the file holds
    something else, or a network of other people or of another contrast.
    """
    known = {
        "contrast": data.contrasts[1],
        "people": {subject.id: subject.sha256 for subject in data.subjects("train")},
    }
    if file.exists():
        return _kept(file, known)
    made = _trained(data, progress)
    stream = io.BytesIO()
    torch.save({**known, "tissues": list(made.tissues), "u-net": made.network.state_dict()}, stream)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, stream.getvalue())
    return made


def _kept(file: Path, known: Mapping[str, Any]) -> Segmenter:
    try:
        content = torch.load(file, weights_only=True)
        made = Segmenter(_network(len(content["tissues"])), tuple(content["tissues"]))
        made.network.load_state_dict(content["u-net"])
    except Exception as error:  # torch raises of every kind for a file that is not its own
        raise FileError(f"{file}: keeps no segmenter; give --segmenter another file.") from error
    if any(content.get(name) != value for name, value in known.items()):
        raise FileError(
            f"{file}: its segmenter learned other people or another contrast than "
            f"{known['contrast']}; give --segmenter another file."
        )
    return made


def _network(tissues: int) -> nn.Module:
    torch.manual_seed(SEED)
    return BasicUNet(2, 1, 1 + tissues, WIDTHS).eval()


@torch.enable_grad()  # an open candidate has switched it off
def _trained(data: PreparedData, progress: Progress) -> Segmenter:
    examples = [
        (pair.target, pair.labels) for pair in read_pairs(data, "train") if pair.labels is not None
    ]
    if not examples:
        raise RequestError(
            f"{data.name}: nobody knows the tissues of its training people; make the data set "
            "with --labels, or leave --segmenter out."
        )
    tissues = tuple(sorted({name for _, labels in examples for name in labels.names.values()}))
    stacks = [(_stack(v, data), _true(labels, tissues, data)) for v, labels in examples]
    network, rng = _network(len(tissues)).train(), np.random.default_rng(SEED)
    adam = torch.optim.Adam(network.parameters(), RATE)
    criterion = DiceCELoss(to_onehot_y=True, softmax=True)
    for n in range(ITERATIONS):
        stack, true = stacks[rng.integers(len(stacks))]
        shown = np.flatnonzero(true.any((1, 2)))
        chosen = rng.choice(shown, BATCH)
        images, numbers = _padded(stack[chosen], -1.0), _padded(true[chosen], 0)
        loss = criterion(network(images), numbers)
        adam.zero_grad()
        loss.backward()
        adam.step()
        progress(n + 1, ITERATIONS)
    return Segmenter(network.eval(), tissues)


def _padded(stack: NDArray[Any], value: float) -> Tensor:
    """(N,H,W) -> (N,1,h,w), of a size that the network takes."""
    height, width = stack.shape[1:]
    return F.pad(
        torch.from_numpy(np.ascontiguousarray(stack))[:, None],
        (0, -width % MULTIPLE, 0, -height % MULTIPLE),
        value=value,
    )


def _stack(volume: Volume, data: PreparedData) -> Stack:
    """An acquired volume as the network sees it."""
    return _clipped(volume, scaling_of(volume, data.intensity).apply(volume.array), data)


def _clipped(volume: Volume, array: NDArray[Any], data: PreparedData) -> Stack:
    return np.clip(in_view(volume, array, data), -1, 1).astype(np.float32)


def _true(labels: LabelMap, tissues: Sequence[str], data: PreparedData) -> Numbers:
    numbers = np.zeros(labels.volume.array.shape, np.int64)
    for number, name in labels.names.items():
        if name in tissues:
            numbers[labels.volume.array == number] = 1 + tissues.index(name)
    return np.ascontiguousarray(in_view(labels.volume, numbers, data))


def dice_of(found: Numbers, true: Numbers, tissues: Sequence[str]) -> dict[str, float]:
    """Tissue -> Dice; those that the label map does not have are absent."""
    there = np.unique(true)
    numbered = enumerate(tissues, 1)
    return {name: dice(found, true, number) for number, name in numbered if number in there}


def downstream(
    candidate: Candidate, data: PreparedData, split: str, segmenter: Segmenter
) -> list[dict[str, Any]]:
    """One row for each person, image and tissue; of draws the first.

    Raises RequestError: nobody knows the tissues of these people.
    """
    rows = []
    for pair in read_pairs(data, split):
        if pair.labels is None:
            continue
        true = _true(pair.labels, segmenter.tissues, data)
        images = {
            "acquired": _stack(pair.target, data),
            "synthetic": _clipped(pair.target, candidate.synthesize(pair, 0).array, data),
        }
        for image, stack in images.items():
            scores = dice_of(segmenter.segment(stack), true, segmenter.tissues)
            rows += [
                dict(zip(COLUMNS, (pair.subject, image, tissue, value), strict=True))
                for tissue, value in scores.items()
            ]
    if not rows:
        raise RequestError(
            f"{data.name}: nobody knows the tissues of its split {split}; choose another."
        )
    return rows


def write_downstream(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """``downstream.csv`` in the folder of the scores."""
    write_csv(folder / DOWNSTREAM, COLUMNS, rows)


def told(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line for people: the means over the subjects, acquired and synthetic."""
    tissues = dict.fromkeys(row["tissue"] for row in rows)

    def mean(tissue: str, image: str) -> float:
        own = [r["dice"] for r in rows if (r["tissue"], r["image"]) == (tissue, image)]
        return float(np.mean(own))

    each = [f"{t} {mean(t, 'synthetic'):.3f} ({mean(t, 'acquired'):.3f})" for t in tissues]
    return f"Dice of what a U-Net finds, in brackets in the acquired target: {', '.join(each)}"
