"""``mambasynth train``: run a recipe, on a laptop or a cluster; the same command continues it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "train",
        help="train a network by a recipe",
        description="Train by a recipe. A run that was killed goes on when the same command is "
        "given again, and ends with the same weights as one that was not. Under torchrun or SLURM "
        "the number of processes is theirs.",
    )
    add = parser.add_argument
    add("recipe", type=Path, metavar="RECIPE", help="a YAML file, see training/recipes")
    add("--data", type=Path, required=True, metavar="PREPARED", help="folder written by "
        "'mambasynth dataset'; for cine methods by 'beating-heart' or 'dataset acdc'")  # fmt: skip
    add("--small", action="store_true", help="the recipe's small form, for a CPU")
    add("--out", type=Path, required=True, metavar="RUN", help="folder of checkpoints and logs")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--start", type=Path, metavar="RUN", nargs="+", help="begin with the "
        "averaged weights of another run of the same network, as far as it has come; of several, "
        "with the mean of them")  # fmt: skip
    begin.add_argument("--init", metavar="PACKAGE|CHECKPOINT", help="begin with the weights of a "
        "model, by its id or folder, or of a generator that CRAViM's, CycleGAN's, SynDiff's or "
        "DDM's own training saved; its network must be the recipe's")  # fmt: skip
    add("--accelerator", choices=("auto", "cpu", "gpu", "mps"), default="auto")
    add("--devices", type=int, metavar="N", help="processes on each node")
    add("--nodes", type=int, metavar="N")
    add("--iterations", type=int, metavar="N", help="altogether, the stages of the "
        "recipe in proportion (default: the recipe's)")  # fmt: skip
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="change a value of the recipe, e.g. stages.0.batch=2 or optimization.ema=0.99; it is "
        "checked as the recipe is")  # fmt: skip
    add("--seed", type=int, metavar="N", help="default: the recipe's")
    add("--precision", choices=("32", "bf16-mixed"), default="", help="default: the recipe's; on "
        "a CPU bf16-mixed is tested first, and float32 used where it fails")  # fmt: skip
    add("--gradient-checkpointing", action="store_true", help="less memory, a little slower")
    add("--threads", type=int, metavar="N", help="CPU threads of each process")
    add("--line-every", type=float, default=30.0, metavar="SECONDS", help="where stderr is no "
        "terminal: a line with losses and time left so often (default: 30; 0: none)")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import sys
    from dataclasses import replace

    import torch

    from MambaSynthLib.commands.console import note
    from MambaSynthLib.errors import RequestError
    from MambaSynthTraining.data.kinds import open_data
    from MambaSynthTraining.engine.distributed import is_first_process
    from MambaSynthTraining.engine.fit import Hardware, fit
    from MambaSynthTraining.least import check_least
    from MambaSynthTraining.recipe_file import read_recipe
    from MambaSynthTraining.start import remarks, start_of
    from MambaSynthTraining.unused import unused_parts

    check_least(options, iterations=1, devices=1, nodes=1, threads=1, seed=0)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    recipe = read_recipe(options.recipe, options.changes, options.iterations or 0, options.small)
    if options.seed is not None:
        try:
            recipe = replace(recipe, seed=options.seed)
        except ValueError as error:
            raise RequestError(f"train: {error}; give another --seed.") from error
    if options.out.resolve() == options.data.resolve():
        raise RequestError(f"{options.out}: holds the data; name another folder as --out.")
    data = open_data(recipe, options.data)
    unused = unused_parts(recipe, data)
    if unused and is_first_process():
        note(f"{options.recipe}: this run does not use {', '.join(unused)}")
    start = start_of(options.start or (), options.init, recipe)
    for remark in remarks(start, data) if is_first_process() else ():
        note(remark)
    hardware = Hardware(
        options.accelerator, options.devices or 0, options.nodes or 0, options.precision,
        options.gradient_checkpointing, sys.stderr.isatty(), options.line_every,
    )  # fmt: skip
    state = fit(recipe, options.recipe, data, options.out, hardware, start)
    if is_first_process():
        print(f"{options.out}: {state.iteration} iterations done")
    return 0
