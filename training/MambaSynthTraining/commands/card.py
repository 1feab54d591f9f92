"""``mambasynth card``: new scores into a card, its README anew, and what models are worth.

Weights and id stay what they are; nothing but ``model.json``'s scores and the README changes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "card",
        help="write model cards anew, from new scores",
        description="Writes README.md of model packages from their model.json. New scores replace "
        "rows of the same name on the same people; rows that were not measured again stay.",
    )
    add = parser.add_argument
    add("packages", type=Path, nargs="+", metavar="PACKAGE")
    add("--scores", type=Path, nargs="+", default=[], metavar="FOLDER",
        help="written by 'mambasynth evaluate-set' for the package and for 'trivial'; each folder "
        "(or folder of such) becomes one table; of masks the --csv of 'score-masks'")  # fmt: skip
    add("--of", nargs="+", default=[], metavar="WORDS",
        help="whom the scores of each folder are of, for people")  # fmt: skip
    add("--worth", type=Path, metavar="README",
        help="put a table of what all packages are worth into its block of this file")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.errors import RequestError
    from MambaSynthLib.model.package import read_package
    from MambaSynthTraining.evaluation.marked_text import check_block, put_into_block
    from MambaSynthTraining.package_card import MADE_BY, rescore, worth, write_readme

    packages = [read_package(folder) for folder in options.packages]
    if options.scores and (len(packages) > 1 or len(options.of) not in (0, len(options.scores))):
        raise RequestError(
            "--scores: belong to one package, and --of names as many groups of people as there are "
            "folders of scores."
        )
    if options.worth:
        check_block(options.worth, MADE_BY)
    if options.scores:
        packages = [rescore(packages[0], options.scores, options.of)]
    for package in packages:
        write_readme(package)
        print(f"wrote {package.folder / 'README.md'}")
    if options.worth:
        text = worth(packages)
        put_into_block(options.worth, MADE_BY, text)
        print(text)
    return 0
