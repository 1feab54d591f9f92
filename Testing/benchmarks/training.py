"""Training iterations: CRAViM in float32 and bfloat16 against CycleGAN with its ResNet generator.

    python -m Testing.benchmarks.training [--rounds 5] [--device cuda] [--batch 4] [--ngf 64]
        [--size 256 256] [--gradient-checkpointing]

One iteration is what a recipe's iteration is, all phases and optimizer steps included; a pass is
one generator forward and backward. On the CPU the sizes are small by default, on a GPU the paper's.
Where mamba-ssm imports, its scan is a contestant too. Prints, for each, the milliseconds, the
largest memory, and the time in parts of CycleGAN's and of the ResNet generator's in the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from MambaSynthLib.layers.selective_scan import backends_for, selective_scan
from MambaSynthLib.methods.cravim import evss
from MambaSynthLib.methods.cravim.network import CRAViM, CRAViMConfig
from MambaSynthTraining.contrast.rivals.generators import ResNetGenerator
from MambaSynthTraining.data.batches import Shard
from MambaSynthTraining.data.slices import SliceBatch
from MambaSynthTraining.engine.iteration import run_iteration
from MambaSynthTraining.engine.machine import Machine
from MambaSynthTraining.engine.recomputing import recompute_activations
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.recipe import Recipe
from MambaSynthTraining.recipe_file import recipe_of
from Testing.benchmarks.race import arguments, peak_memory, race, report

PRECISIONS = {"fp32": False, "bf16": True}


def recipes(ngf: int, batch: int, size: tuple[int, int]) -> dict[str, Recipe]:
    """Both methods with generators of one width, discriminators of the paper's proportion."""
    common = {"stages": [{"iterations": 1, "batch": batch, "crop": list(size)}], "seed": 0}
    cravim = {
        "method": "cravim",
        "preset": "released-code",
        "network": {"ngf": ngf},
        "options": {"discriminator_width": ngf},
    }
    cyclegan = {
        "method": "cyclegan",
        "preset": "paper",
        "network": {"width": ngf, "discriminator_width": ngf},
    }
    return {
        "CRAViM": recipe_of({**cravim, **common}),
        "CycleGAN": recipe_of({**cyclegan, **common}),
    }


def iteration(recipe: Recipe, device: str, bf16: bool, recompute: bool) -> Callable[[], object]:
    """One iteration on random slices, again and again."""
    state, stage = State(recipe, device), recipe.stages[0]
    if recompute:
        recompute_activations(state.method.networks)
    images = torch.rand(2, stage.batch, 1, *stage.crop, device=device) * 2 - 1
    shard = Shard(SliceBatch(*images), ("random",) * stage.batch, 1)

    def run() -> None:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
            run_iteration(state.method, state.optimizers, [shard], recipe, 0, Machine())

    return run


def generator_pass(network: nn.Module, images: Tensor, bf16: bool) -> Callable[[], object]:
    def run() -> None:
        network.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            loss = network(images).float().abs().mean()
        loss.backward()

    return run


@contextmanager
def scanning(backend: str) -> Iterator[None]:
    """All scans by that backend meanwhile."""
    evss.selective_scan = partial(selective_scan, backend=backend)
    try:
        yield
    finally:
        evss.selective_scan = selective_scan


def by(backend: str, run: Callable[[], object]) -> Callable[[], object]:
    def with_backend() -> None:
        with scanning(backend):
            run()

    return with_backend


def contestants(options: Any) -> dict[str, Callable[[], object]]:
    device, size = options.device, tuple(options.size)
    backends = backends_for(device)
    both = recipes(options.ngf, options.batch, size)
    found: dict[str, Callable[[], object]] = {}
    for label, bf16 in PRECISIONS.items():
        cycle = iteration(both["CycleGAN"], device, bf16, options.gradient_checkpointing)
        found[f"iteration, CycleGAN, {label}"] = cycle
        for backend in backends:
            run = iteration(both["CRAViM"], device, bf16, options.gradient_checkpointing)
            found[f"iteration, CRAViM, {label}, {backend} scan"] = by(backend, run)
        resnet = ResNetGenerator(width=options.ngf).to(device)
        source = torch.rand(options.batch, 1, *size, device=device)
        found[f"pass, ResNet-9, {label}"] = generator_pass(resnet, source, bf16)
        ours = CRAViM(CRAViMConfig(ngf=options.ngf)).to(device)
        images = torch.rand(options.batch, 2, *size, device=device)
        for backend in backends:
            run = generator_pass(ours, images, bf16)
            found[f"pass, CRAViM, {label}, {backend} scan"] = by(backend, run)
    return found


def memory(run: Callable[[], object], device: str) -> float | None:
    """Largest memory of one turn in MB; on a GPU everything allocated, weights included."""
    if not device.startswith("cuda"):
        return peak_memory(run)
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() / 2**20


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--ngf", type=int, default=0, help="default: 64 on a GPU, 8 on the CPU")
    parser.add_argument("--batch", type=int, default=0, help="default: 4 on a GPU, 1 on the CPU")
    parser.add_argument("--size", type=int, nargs=2, default=None, help="default: 256 or 64")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    options = parser.parse_args()
    small = options.device == "cpu"
    options.ngf = options.ngf or (8 if small else 64)
    options.batch = options.batch or (1 if small else 4)
    options.size = options.size or ((64, 64) if small else (256, 256))
    runs = contestants(options)
    seconds = race(runs, options.rounds, options.threads, options.device)
    rows = [
        {"what": name, "ms": 1e3 * value, "times ResNet": value / seconds[_floor(name)],
         "times fp32": value / seconds[name.replace("bf16", "fp32")],
         "peak MB": memory(runs[name], options.device)}
        for name, value in seconds.items()
    ]  # fmt: skip
    size = "x".join(map(str, options.size))
    title = f"training ngf {options.ngf} batch {options.batch} {size} {options.device}"
    report(title, rows, options.out, "times ResNet")


def _floor(name: str) -> str:
    """The contestant that this one is compared with: the same kind and precision, with ResNets."""
    kind, _, precision, *_ = name.split(", ")
    return f"{kind}, {'CycleGAN' if kind == 'iteration' else 'ResNet-9'}, {precision}"


if __name__ == "__main__":
    main()
