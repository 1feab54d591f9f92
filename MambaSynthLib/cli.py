"""The command ``mambasynth``: parse, dispatch, and turn errors into one sentence.

Exit codes: 0 done, 2 something the user can put right (nothing was written), 130 interrupted.
Only the chosen command's modules are imported, so ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn

from MambaSynthLib import __version__
from MambaSynthLib.errors import Cancelled, MambaSynthError

COMMANDS = ("synthesize", "models", "evaluate", "verify", "info", "demo")
EXIT_USER, EXIT_INTERRUPTED = 2, 130


class Parser(argparse.ArgumentParser):
    """An argument parser that names the nearest option when one is unknown."""

    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: (--[\w-]+)", message)
        if unknown:
            known = [
                name for parser in self._all_parsers() for name in parser._option_string_actions
            ]
            near = get_close_matches(unknown[1], known, n=1)
            message += f" (did you mean {near[0]}?)" if near else ""
        super().error(message)

    def _all_parsers(self) -> list[argparse.ArgumentParser]:
        parsers: list[argparse.ArgumentParser] = [self]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    parsers += parser._all_parsers()
        return parsers


def build_parser() -> Parser:
    """The parser of all commands. The command modules import nothing heavy at file scope."""
    parser = Parser(
        prog="mambasynth",
        description="Synthesize MR contrasts that were not acquired. Research use, not for "
        "diagnosis.",
    )
    parser.add_argument("--version", action="version", version=f"mambasynth {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"MambaSynthLib.commands.{name}").add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except MambaSynthError as error:
        if options.debug:
            raise
        print(f"mambasynth: {error}", file=sys.stderr)
        return EXIT_USER
    except (KeyboardInterrupt, Cancelled):
        print("mambasynth: interrupted, nothing was written", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away; that is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        if options.debug:
            raise
        print(
            f"mambasynth: the Python package {error.name!r} is not installed; install it with "
            "'pip install mambasynth[onnx]' or, for GPUs and training, 'mambasynth[torch]'.",
            file=sys.stderr,
        )
        return EXIT_USER
