"""``mambasynth export``: a scored training run becomes a model package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("export", help="make a model package of a scored training run")
    add = parser.add_argument
    add("training_run", type=Path, metavar="RUN", help="folder written by 'mambasynth train'")
    add("folder", type=Path, metavar="FOLDER", help="the package to write, e.g. models/my-model")
    add("--scores", type=Path, nargs="+", default=[], metavar="FOLDER",
        help="written by 'mambasynth evaluate-set', for this run and for 'trivial'; of a cine "
        "method the folder of its table by 'mambasynth reproduce'")  # fmt: skip
    add("--direction", nargs=2, metavar=("SOURCE", "TARGET"), help="of a contrast: e.g. T2w T1w, "
        "the second direction of a run that trained both (default: the run's first)")  # fmt: skip
    add("--id", required=True)
    add("--version", default="1.0.0")
    add("--title", required=True)
    add("--trained-on", required=True, help="the training data, for people")
    add("--license", default="", metavar="SPDX", help="required: of the weights, such as "
        "Apache-2.0; the training data may ask for one; NOASSERTION: you cannot say")  # fmt: skip
    add("--attribution", action="append", default=[], help="whom the data ask to be named")
    add("--limits", default="", help="what the model cannot do: for a contrast in the place of "
        "the usual words, for a cine after them")  # fmt: skip
    add("--steps", type=int, default=0, metavar="N",
        help="of a contrast: network calls by default (default: the recipe's)")  # fmt: skip
    add("--samples", type=int, default=1, metavar="K",
        help="of a contrast: noise draws averaged by default (default: 1)")  # fmt: skip
    add("--axis-codes", default="LPS", help="of a cine: directions of columns, rows and slices")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.errors import RequestError
    from MambaSynthLib.install.checkpoints import id_of
    from MambaSynthTraining.export import Description, export

    if not options.license.strip():
        raise RequestError(
            "export: --license is missing; name the license of the weights, e.g. --license "
            "Apache-2.0, after a look at what the training data ask for."
        )
    if options.id != id_of(options.id):
        raise RequestError(
            f"export: --id {options.id!r} is no model's id, of lower-case letters, digits, '.', "
            f"'_' and '-'; take {id_of(options.id) or 'my-model'}."
        )
    description = Description(
        options.id,
        options.version,
        options.title,
        options.trained_on,
        options.license.strip(),
        tuple(options.attribution),
        options.limits,
        options.steps,
        options.samples,
        options.axis_codes,
    )
    direction = tuple(options.direction) if options.direction else None
    package = export(options.training_run, options.folder, description, options.scores, direction)
    print(f"wrote {package.folder}")
    return 0
