"""The gate's network learns: looks are drawn once, then seen in several rounds.

The torch form of ``MambaSynthLib/gate/network.py``, with batch normalization, which becomes part of
the convolutions when the weights are written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.gate.look import SHAPE, coarsened
from MambaSynthLib.gate.network import CONVOLUTIONS
from MambaSynthLib.gate.questions import ORIENTATIONS, OUTPUTS, QUESTIONS
from MambaSynthTraining.fusing import fuse
from MambaSynthTraining.gate import strangers
from MambaSynthTraining.gate.draws import NOT_ASKED, Draw, draw
from MambaSynthTraining.gate.examples import Example

CHANNELS = (12, 24, 32, 32)
HIDDEN = 48
EPSILON = 1e-5  # beside the variance, in batch normalization
BATCH, RATE, DECAY = 32, 2e-3, 1e-3
STRANGERS = 0.13  # of all draws
REAL = 0.65  # of the draws of a group that has both acquired and computed volumes
SHARES = {  # how often a group is drawn
    ("head", "T1w"): 5, ("brain", "T1w"): 5, ("head", "T2w"): 3, ("brain", "T2w"): 3,
    ("head", "FLAIR"): 3, ("brain", "FLAIR"): 4, ("head", "PDw"): 2, ("brain", "PDw"): 2,
    ("brain", "T1w with contrast agent"): 3,
}  # fmt: skip
USUAL_SHARE = 1.5
MIRRORED = torch.tensor([
    ORIENTATIONS.index(o.translate(str.maketrans("RL", "LR"))) for o in ORIENTATIONS
])  # fmt: skip

Looks = NDArray[np.float16]
Answers = NDArray[np.int64]
Say = Callable[[str], None]


def draw_looks(examples: Sequence[Example], count: int, seed: int) -> tuple[Looks, Answers]:
    """(count,40,46,40) looks, and (count,questions) numbers of their right answers."""
    rng = np.random.default_rng(seed)
    groups: dict[tuple[str, str], list[Example]] = {}
    for example in examples:
        key = example.truth.get("anatomy", ""), example.truth.get("contrast", "")
        groups.setdefault(key, []).append(example)
    shares = np.array([SHARES.get(key, USUAL_SHARE) for key in groups])
    looks, answers = np.zeros((count, *SHAPE), np.float16), np.zeros((count, len(QUESTIONS)), int)
    for n in range(count):
        chosen = list(groups.values())[rng.choice(len(groups), p=shares / shares.sum())]
        found = _stranger(rng) if rng.random() < STRANGERS else _drawn(chosen, rng)
        looks[n], answers[n] = found.image, found.answers
    return looks, answers


def _drawn(group: list[Example], rng: np.random.Generator) -> Draw:
    wanted = bool(rng.random() < REAL)
    members = [example for example in group if example.real == wanted] or group
    while True:
        try:
            return draw(members[rng.integers(len(members))], rng)
        except VolumeError:  # nothing was left of it
            continue


def _stranger(rng: np.random.Generator) -> Draw:
    made, truth = (
        (strangers.noise, {"kind": "noise"}),
        (strangers.shape, {"kind": "drawing"}),
        (strangers.body, {"anatomy": "other", "kind": "MR"}),
    )[rng.choice(3, p=[0.2, 0.35, 0.45])]
    return draw(Example(coarsened(made(rng)), truth, real=False), rng)


class GateNetwork(nn.Module):
    """Looks (N,1,40,46,40) -> logits (N,outputs)."""

    def __init__(self) -> None:
        super().__init__()
        widths = zip((1, *CHANNELS[:-1]), CHANNELS, strict=True)
        self.convolutions = nn.ModuleList(
            nn.Conv3d(a, b, 3, stride=2, padding=1, bias=False) for a, b in widths
        )
        self.norms = nn.ModuleList(nn.BatchNorm3d(c, EPSILON) for c in CHANNELS)
        cells = 1
        for n in SHAPE:
            cells *= -(-n // 2**CONVOLUTIONS)
        self.hidden = nn.Linear(cells * CHANNELS[-1], HIDDEN)
        self.dropout = nn.Dropout(0.25)
        self.logits = nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = torch.relu(norm(convolution(x)))
        return self.logits(self.dropout(torch.relu(self.hidden(self.dropout(x.flatten(1))))))

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """As ``MambaSynthLib.gate.network.Gate`` takes them."""
        found: dict[str, Tensor] = {}
        for n, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            found[f"conv{n}"], found[f"conv{n}.bias"] = fuse(convolution, norm)
        for name in ("hidden", "logits"):
            layer = getattr(self, name)
            found |= {name: layer.weight, f"{name}.bias": layer.bias}
        return {name: value.detach().numpy() for name, value in found.items()}


def train(looks: Looks, answers: Answers, rounds: int, seed: int, say: Say) -> GateNetwork:
    """A network that has seen every look ``rounds`` times, each time a little changed."""
    torch.manual_seed(seed)
    network = GateNetwork()
    steps = rounds * (len(looks) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for number in range(rounds):
        network.train()
        order, total = torch.randperm(len(looks)), 0.0
        for start in range(0, len(looks) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH].numpy()
            batch = torch.from_numpy(looks[chosen]).float(), torch.from_numpy(answers[chosen])
            x, y = changed(*batch)
            loss = loss_of(network(x[:, None]), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
            total += float(loss.detach())
        say(f"round {number + 1} of {rounds}: loss {total / (len(looks) // BATCH):.3f}")
    return network.eval()


def changed(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Half of the looks mirrored left to right, all a little brighter or darker, moved, noisier."""
    mirror = torch.rand(len(x)) < 0.5
    x = torch.where(mirror[:, None, None, None], x.flip(1), x)
    at = list(QUESTIONS).index("orientation")
    asked = mirror & (y[:, at] != NOT_ASKED)
    y = y.clone()
    y[asked, at] = MIRRORED[y[asked, at]]
    x = torch.roll(x, tuple(torch.randint(-1, 2, (3,)).tolist()), (1, 2, 3))
    x = x * torch.exp(0.08 * torch.randn(len(x), 1, 1, 1))
    return x + 0.03 * torch.randn_like(x), y


def loss_of(logits: Tensor, answers: Tensor) -> Tensor:
    """The sum over questions of the cross-entropy where they are asked."""
    total, first = logits.new_zeros(()), 0
    for n, names in enumerate(QUESTIONS.values()):
        own, right = logits[:, first : first + len(names)], answers[:, n]
        first += len(names)
        if bool((right != NOT_ASKED).any()):
            total = total + nn.functional.cross_entropy(own, right, ignore_index=NOT_ASKED)
    return total
