"""The published checkpoints of DDM under the names of this library's network.

DDM (Kim & Ye, MICCAI 2022) saves one state dict, ``I<iterations>_E<epochs>_gen_G.pth``: its noise
schedule, ``denoise_fn`` (a 3-D U-Net whose layers have the names of DiffuseMorph's, by the same
authors) and ``field_fn``. The layers are those of ``MSTGConfig(scan="none", down="conv")``, in the
same order and of the same shapes; only their names differ.

| published                          | here                         |
|------------------------------------|------------------------------|
| ``denoise_fn.time_mlp.1``, ``.3``  | ``diffusion.embedding``      |
| ``denoise_fn.downs.0``             | ``diffusion.stem``           |
| ``denoise_fn.downs.<odd, even>``   | ``diffusion.encoder, .down`` |
| ``denoise_fn.mid``                 | ``diffusion.middle``         |
| ``denoise_fn.ups``, two and one    | ``diffusion.decoder, .up``   |
| ``denoise_fn.final_conv``          | ``diffusion.head``           |
| ``field_fn``                       | ``deformation``              |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from MambaSynthLib.errors import ModelError
from MambaSynthLib.methods.mstg.config import MSTGConfig

T = TypeVar("T")

STEM = "denoise_fn.downs.0.weight"
DOUBLINGS = 4  # of the deformation network
BLOCK = {  # of a residual block
    "mlp.1": "of_step.1",
    "block1.block.0": "first.0",
    "block1.block.3": "first.2",
    "block2.block.0": "second.0",
    "block2.block.3": "second.2",
    "res_conv": "shortcut",
}


def is_ddm(weights: Mapping[str, object]) -> bool:
    """Whether the names are those of DDM's published training."""
    return STEM in weights


def from_ddm(weights: Mapping[str, T]) -> dict[str, T]:
    """The same values under our names, without the noise schedule, which the card tells.

    Raises ModelError: a layer has no counterpart.
    """
    layers = dict(_layers(_levels(weights)))
    found, strange = {}, []
    for name, values in weights.items():
        layer, _, kind = name.rpartition(".")
        if layer in layers:
            found[f"{layers[layer]}.{kind}"] = values
        elif name.startswith(("denoise_fn.", "field_fn.")) and kind != "inv_freq":
            strange.append(name)
    if strange:
        raise ModelError(f"the weights are not those of DDM: {strange[0]} is no layer of it.")
    return found


def config_of_ddm(shapes: Mapping[str, tuple[int, ...]]) -> MSTGConfig:
    """The sizes of a checkpoint under our names. Raises ModelError where a layer is missing."""
    try:
        stages = {int(key.split(".")[2]) for key in shapes if key.startswith("diffusion.encoder.")}
        channels = [shapes[f"diffusion.encoder.{n}.second.2.weight"][0] for n in sorted(stages)]
        return MSTGConfig(channels=tuple(channels), down="conv", scan="none")
    except (KeyError, ValueError, IndexError) as error:
        raise ModelError(f"the weights are not those of DDM ({error}).") from error


def _levels(weights: Mapping[str, object]) -> int:
    """``downs`` has a stem, and for each level a block and a halving, but for the last."""
    stages = [int(n) for key in weights if (n := _index(key, "denoise_fn.downs."))]
    return (max(stages, default=0) + 1) // 2


def _index(key: str, start: str) -> str:
    number = key.removeprefix(start).partition(".")[0]
    return number if key.startswith(start) and number.isdecimal() else ""


def _layers(levels: int) -> Iterator[tuple[str, str]]:
    """(published, ours) of every layer that has values."""
    unet, ours = "denoise_fn", "diffusion"
    for published, here in ((1, 0), (3, 2)):
        yield f"{unet}.time_mlp.{published}", f"{ours}.embedding.layers.{here}"
    yield f"{unet}.downs.0", f"{ours}.stem"
    for level in range(levels):
        yield from _block(f"{unet}.downs.{2 * level + 1}", f"{ours}.encoder.{level}")
        yield f"{unet}.downs.{2 * level + 2}.conv", f"{ours}.down.{level}"
        for n in (0, 1):
            yield from _block(f"{unet}.ups.{3 * level + n}", f"{ours}.decoder.{2 * level + n}")
        yield f"{unet}.ups.{3 * level + 2}.conv", f"{ours}.up.{level}"
    for n in (0, 1):
        yield from _block(f"{unet}.mid.{n}", f"{ours}.middle.{n}")
    for part in ("norm", "qkv", "out"):
        yield f"{unet}.mid.0.attn.{part}", f"{ours}.attention.{part}"
    for published, here in ((0, 0), (3, 2)):
        yield f"{unet}.final_conv.block.{published}", f"{ours}.head.{here}"
    yield from _field()


def _block(published: str, ours: str) -> Iterator[tuple[str, str]]:
    for part, here in BLOCK.items():
        yield f"{published}.res_block.{part}", f"{ours}.{here}"


def _field() -> Iterator[tuple[str, str]]:
    net, ours = "field_fn", "deformation"
    yield f"{net}.inconv.block.block.0", f"{ours}.encoder.0"
    for n in range(1, DOUBLINGS + 1):
        yield f"{net}.downconv{n}.block.block.0", f"{ours}.encoder.{n}"
        yield f"{net}.upconv{n}.upconv", f"{ours}.up.{n - 1}"
        yield f"{net}.upconv{n}.block.block.0", f"{ours}.decoder.{n - 1}"
    yield f"{net}.keepblock.block.0", f"{ours}.narrow"
    yield f"{net}.outconv.block", f"{ours}.field"
