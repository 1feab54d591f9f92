"""Generators that others' trainings saved, under the names of our networks.

| of       | published names                      | saved as                        |
|----------|--------------------------------------|---------------------------------|
| CycleGAN | ``model.<n>``, in residual blocks    | ``<epoch>_net_G_A.pth``         |
|          | ``model.<n>.conv_block.<m>``         | (junyanz's, ResNet)             |
| SynDiff  | ``all_modules.<n>`` in the order of  | ``gen_diffusive_1_<epoch>.pth`` |
|          | computing, ``z_transform.<n>``       | (icon-lab's, NCSN++)            |

Layers and shapes are those of ``generators.ResNetGenerator`` and ``ncsnpp.NCSNpp``. A name that has
no place keeps its own, so that whoever loads the result can tell which it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from MambaSynthTraining.contrast.rivals.ncsnpp import NCSNppConfig

Weights = Mapping[str, Tensor]

PARALLEL = "module."  # before every name that was saved by DistributedDataParallel
TRUNK, DECODER = (1, 3, 5), (0, 2, 5)  # where our convolutions lie in CycleGAN's two parts
FIRST_BLOCK = 7
SUFFIXES = {  # of NCSN++'s layers: what a layer of each kind calls its parts, and we
    "plain": {"": ""},
    "pyramid": {".Conv2d_0": ""},
    "block": {
        ".GroupNorm_0.style": ".norm1.style", ".Conv_0": ".conv1", ".Dense_0": ".time",
        ".GroupNorm_1.style": ".norm2.style", ".Conv_1": ".conv2", ".Conv_2": ".skip",
    },
    "attention": {
        ".GroupNorm_0": ".norm", ".NIN_0": ".query", ".NIN_1": ".key", ".NIN_2": ".value",
        ".NIN_3": ".out",
    },
}  # fmt: skip
OF_LATENT = {f"z_transform.{n + 1}": f"mapping.{n}" for n in (0, 2, 4, 6)}
SEES_IMAGES = ("first.weight", "down.0.pyramid.weight")


def from_cyclegan(weights: Weights) -> dict[str, Tensor]:
    """Any size; dropout within the residual blocks moves their second convolution by one."""
    plain = _numbers(weights, r"(?:module\.)?model\.(\d+)\.weight")
    names = {f"model.{n}": f"trunk.{at}" for n, at in zip(plain, TRUNK, strict=False)}
    names |= {f"model.{n}": f"decoder.{at}" for n, at in zip(plain[3:], DECODER, strict=False)}
    for k, n in enumerate(_numbers(weights, r"(?:module\.)?model\.(\d+)\.conv_block\..*")):
        pair = _numbers(weights, rf"(?:module\.)?model\.{n}\.conv_block\.(\d+)\.weight")
        for c, m in enumerate(pair, start=1):
            names[f"model.{n}.conv_block.{m}"] = f"trunk.{FIRST_BLOCK + k}.conv{c}"
    return _renamed(weights, names)


def from_syndiff(weights: Weights, config: NCSNppConfig) -> dict[str, Tensor]:
    """The published network sees (noised image, guide), ours (guide, noised image); its attention
    keeps matrices (in, out) where ours has convolutions (out, in, 1, 1).
    """
    names = dict(OF_LATENT)
    for n, (layer, kind) in enumerate(_in_order(config)):
        names |= {f"all_modules.{n}{a}": f"{layer}{b}" for a, b in SUFFIXES[kind].items()}
    found = {}
    for name, values in _renamed(weights, names).items():
        if name.endswith(".W") and values.ndim == 2:
            name, values = f"{name[:-1]}weight", values.t()[:, :, None, None]
        found[f"{name[:-1]}bias" if name.endswith(".b") else name] = values
    swapped = {name: found[name].flip(1) for name in SEES_IMAGES if name in found}
    return found | swapped


def _in_order(config: NCSNppConfig) -> Iterator[tuple[str, str]]:
    """Our layers, each with its kind, as ``all_modules`` numbers them."""
    levels = range(len(config.multipliers))
    yield from (("time.linear1", "plain"), ("time.linear2", "plain"), ("first", "plain"))
    for level in levels:
        for n in range(config.blocks):
            yield f"down.{level}.blocks.{n}", "block"
            if level in config.attention_levels:
                yield f"down.{level}.attention.{n}", "attention"
        if level != levels[-1]:
            yield f"down.{level}.halving", "block"
            yield f"down.{level}.pyramid", "pyramid"
    yield from (("middle.0", "block"), ("middle.1", "attention"), ("middle.2", "block"))
    for k, level in enumerate(reversed(levels)):
        yield from ((f"up.{k}.blocks.{n}", "block") for n in range(config.blocks + 1))
        if level in config.attention_levels:
            yield f"up.{k}.attention", "attention"
        if level:
            yield f"up.{k}.doubling", "block"
    yield from (("last_norm", "plain"), ("last", "plain"))


def _renamed(weights: Weights, names: Mapping[str, str]) -> dict[str, Tensor]:
    """``names`` maps layers; what follows the last dot is the part of a layer."""
    found = {}
    for name, values in weights.items():
        layer, _, part = name.removeprefix(PARALLEL).rpartition(".")
        found[f"{names[layer]}.{part}" if layer in names else name] = values
    return found


def _numbers(weights: Weights, pattern: str) -> list[int]:
    """What the one group of ``pattern`` is in the names, in order."""
    return sorted({int(match[1]) for name in weights if (match := re.fullmatch(pattern, name))})
