"""The mask network learns: forms are drawn once, then seen in several rounds, each time changed.

| symbol | code       | shape        | meaning                                    |
|--------|------------|--------------|--------------------------------------------|
| x      | ``images`` | (B,64,80,72) | as the library's ``scaled`` gives them     |
| m      | ``masks``  | (B,2,64,80,72) | share of brain and head, 0 to 1          |
| p      | ``shares`` | (B,2,64,80,72) | the network's, after the logistic function |

    L = mean BCE(p, m) + mean over brain and head of 1 - 2 sum(p m) / (sum(p) + sum(m))

(Dice loss: Milletari et al., 3DV 2016.) Batch normalization becomes part of the convolutions when
the weights are written. A killed training goes on from its last checkpoint.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from MambaSynthLib.errors import FileError
from MambaSynthLib.mask.placing import MOST
from MambaSynthLib.methods.maskunet.config import FOLD, OUTPUTS, MaskConfig
from MambaSynthLib.methods.maskunet.network import MaskNetwork
from MambaSynthTraining.engine.checkpoint import read_checkpoint, write_checkpoint
from MambaSynthTraining.fusing import fuse
from MambaSynthTraining.mask.drawn import Drawn, Say
from MambaSynthTraining.mask.draws import FULL

BATCH, RATE, DECAY = 4, 4e-3, 1e-3
EPSILON = 1e-5  # beside the variance, in batch normalization
KEPT_EVERY = 100  # iterations
CHECKPOINT, RECORD = "checkpoint.pt", "training.json"


class NormedNetwork(MaskNetwork):
    """The mask network in training: batch normalization after each convolution but the last."""

    def __init__(self, config: MaskConfig) -> None:
        super().__init__(config)
        self.config = config
        self.norms = nn.ModuleDict({
            name: nn.BatchNorm3d(layer.channels_out, EPSILON)
            for name, layer in config.layers().items()
            if name != "logits"
        })  # fmt: skip

    def layer(self, name: str, x: Tensor) -> Tensor:
        x = self.convolutions[name](x)
        return x if name == "logits" else torch.relu(self.norms[name](x))

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """As ``MambaSynthLib.methods.maskunet.network.MaskNetwork`` takes them."""
        found: dict[str, Tensor] = {}
        for name, convolution in self.convolutions.items():
            kernel, bias = (p.detach() for p in convolution.parameters())
            if name in self.norms:
                kernel, bias = fuse(convolution, self.norms[name])
            found |= {f"convolutions.{name}.weight": kernel, f"convolutions.{name}.bias": bias}
        return {name: value.numpy() for name, value in found.items()}


def train(
    drawn: Drawn,
    channels: tuple[int, ...],
    rounds: int,
    seed: int,
    folder: Path,
    say: Say,
    start: Path | None = None,
) -> NormedNetwork:
    """A network that has seen every draw ``rounds`` times. ``folder`` keeps its checkpoint;
    ``start`` has that of another training, with whose network this one begins.

    Raises FileError: a checkpoint of another network is there, or none to start from.
    """
    images, masks = drawn
    torch.manual_seed(seed)
    network = NormedNetwork(MaskConfig(channels)).train()
    for parameter in network.parameters():  # a third faster on the CPU
        if parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    a_round = len(images) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=rounds * a_round)
    parts = {"network": network, "optimizer": optimizer, "rates": rates}
    first = _resumed(folder / CHECKPOINT, parts)
    if start and not first and not _resumed(start / CHECKPOINT, {"network": network}):
        raise FileError(f"{start}: holds no {CHECKPOINT} to start from; name another folder.")
    losses: list[float] = []
    for iteration in range(first, rounds * a_round):
        order = np.random.default_rng((seed, iteration // a_round)).permutation(len(images))
        chosen = order[iteration % a_round * BATCH :][:BATCH]
        x, m = changed(images[chosen], masks[chosen], np.random.default_rng((seed, iteration, 1)))
        seen = folded(x).contiguous(memory_format=torch.channels_last_3d)
        loss = loss_of(unfolded(network(seen)), m)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
        losses.append(float(loss.detach()))
        if (iteration + 1) % KEPT_EVERY == 0:
            say(f"iteration {iteration + 1} of {rounds * a_round}: loss {np.mean(losses):.4f}")
            losses.clear()
            _keep(folder / CHECKPOINT, parts, iteration + 1)
    _keep(folder / CHECKPOINT, parts, rounds * a_round)
    return network.eval()


def _keep(path: Path, parts: dict[str, object], iteration: int) -> None:
    states = {name: part.state_dict() for name, part in parts.items()}  # type: ignore[attr-defined]
    write_checkpoint(path, {**states, "iteration": iteration})


def _resumed(path: Path, parts: dict[str, object]) -> int:
    """The iteration to go on from."""
    if not path.exists():
        return 0
    kept = read_checkpoint(path)
    try:
        for name, part in parts.items():
            part.load_state_dict(kept[name])  # type: ignore[attr-defined]
        return int(kept["iteration"])
    except (RuntimeError, KeyError, ValueError) as error:
        raise FileError(f"{path}: is no checkpoint of this training; delete it.") from error


def folded(x: Tensor) -> Tensor:
    """(B,D,H,W) -> (B,8,D/2,H/2,W/2), as the library's ``fold``."""
    b, d, h, w = x.shape
    parts = x.reshape(b, d // FOLD, FOLD, h // FOLD, FOLD, w // FOLD, FOLD)
    return parts.permute(0, 2, 4, 6, 1, 3, 5).reshape(b, FOLD**3, d // FOLD, h // FOLD, w // FOLD)


def unfolded(y: Tensor) -> Tensor:
    """(B,16,D,H,W) -> (B,2,2D,2H,2W), as the library's ``unfold``."""
    b, _, d, h, w = y.shape
    parts = y.reshape(b, len(OUTPUTS), FOLD, FOLD, FOLD, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return parts.reshape(b, len(OUTPUTS), FOLD * d, FOLD * h, FOLD * w)


def changed(
    images: NDArray[np.float16], masks: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Some mirrored left to right, all brighter or darker, moved by a cube or two, noisier."""
    x, m = images.astype(np.float32), masks.astype(np.float32) / FULL
    for n in np.flatnonzero(rng.random(len(x)) < 0.5):
        x[n], m[n] = x[n, ..., ::-1].copy(), m[n, ..., ::-1].copy()
    shift = tuple(rng.integers(-2, 3, 3).tolist())
    x, m = np.roll(x, shift, (1, 2, 3)), np.roll(m, shift, (2, 3, 4))
    x *= np.exp(rng.normal(0, 0.08, (len(x), 1, 1, 1))).astype(np.float32)
    x += np.float32(0.02) * rng.standard_normal(x.shape, np.float32)
    return torch.from_numpy(x.clip(0, MOST)), torch.from_numpy(m)


def loss_of(logits: Tensor, masks: Tensor) -> Tensor:
    """The formula above."""
    shares = torch.sigmoid(logits)
    both = (shares * masks).sum((2, 3, 4))
    either = shares.sum((2, 3, 4)) + masks.sum((2, 3, 4))
    dice = (2 * both + 1) / (either + 1)
    return F.binary_cross_entropy_with_logits(logits, masks) + (1 - dice).mean()
