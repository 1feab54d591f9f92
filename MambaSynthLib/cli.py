"""The command ``mambasynth``: parse, dispatch, and turn errors into one sentence.

Exit codes: 0 done, 2 something the user can put right (nothing was written), 130 interrupted,
1 a bug of ours. Each failure is one line on stderr; --debug shows the traceback.
Only the chosen command's modules are imported, so ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import pkgutil
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import NoReturn

from MambaSynthLib import __version__
from MambaSynthLib.errors import Cancelled, MambaSynthError
from MambaSynthLib.io.payload import printable

COMMANDS = (
    "synthesize",
    "synthesize-set",
    "cine",
    "evaluate-cine",
    "models",
    "evaluate",
    "verify",
    "info",
    "demo",
    "serve",
)
PLUG_INS = "mambasynth.commands"  # entry points that name a package of further command modules
EXIT_BUG, EXIT_USER, EXIT_INTERRUPTED = 1, 2, 130
MOST_SHOWN = 400  # characters of a complaint that may quote an argument of any length
EXTRAS = {  # optional installation -> the packages it brings
    "torch": ("torch",),
    "train": ("lightning", "monai", "torchmetrics", "zarr", "tensorboard", "SimpleITK", "yaml"),
    "dicom": ("pydicom",),
}
EXPECTED = (MambaSynthError, ModuleNotFoundError, MemoryError, OSError)


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line, with the nearest known option."""

    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: (--[\w-]+)", message)
        if unknown:
            known = [
                name for parser in self.all_parsers() for name in parser._option_string_actions
            ]
            near = get_close_matches(unknown[1], known, n=1)
            message += f" (did you mean {near[0]}?)" if near else ""
        message = printable(message)[:MOST_SHOWN]
        self.exit(EXIT_USER, f"{self.prog}: {message}; see {self.prog} --help\n")

    def all_parsers(self) -> list[argparse.ArgumentParser]:
        parsers: list[argparse.ArgumentParser] = [self]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    parsers += parser.all_parsers()
        return parsers


def build_parser() -> Parser:
    """The parser of all commands. The command modules import nothing heavy at file scope."""
    parser = Parser(
        prog="mambasynth",
        description="Synthesize MR contrasts and cine frames that were not acquired. Research use, "
        "not for diagnosis.",
    )
    parser.add_argument("--version", action="version", version=f"mambasynth {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _command_modules():
        importlib.import_module(module).add_parser(commands)
    for each in parser.all_parsers():  # before the command and after it
        each.add_argument("--debug", action="store_true", default=argparse.SUPPRESS,
                          help="show the traceback of an error")  # fmt: skip
    parser.set_defaults(debug=False)
    return parser


def _command_modules() -> Iterator[str]:
    """The library's commands, then those of installed packages such as the training's."""
    for name in COMMANDS:
        yield f"MambaSynthLib.commands.{name.replace('-', '_')}"
    for package in entry_points(group=PLUG_INS):
        for module in pkgutil.iter_modules(package.load().__path__):
            yield f"{package.value}.{module.name}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = argparse.Namespace(debug=False)
    try:
        _allow_any_text()
        try:
            options = build_parser().parse_args(arguments)
            code: int = options.run(options)
        finally:  # also after --help
            if sys.stdout:
                sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output went away; that is its right
        return 0
    except (KeyboardInterrupt, Cancelled):
        _say("mambasynth: interrupted, nothing was written")
        return EXIT_INTERRUPTED
    except Exception as error:
        if options.debug:
            raise
        _say(f"mambasynth: {printable(sentence(error))}")
        return EXIT_USER if isinstance(error, EXPECTED) else EXIT_BUG
    finally:
        _let_go()


def sentence(error: Exception) -> str:
    """What happened and what to do about it."""
    if isinstance(error, ModuleNotFoundError):
        extra = next((e for e, names in EXTRAS.items() if error.name in names), "onnx")
        return (
            f"the Python package {error.name!r} is not installed; install it with "
            f"'pip install mambasynth[{extra}]'."
        )
    if isinstance(error, MemoryError):
        return "the memory of this machine is not enough; close other programs or crop the image."
    if isinstance(error, OSError):
        place = error.filename or "the system"
        return f"{place}: {error.strerror or error}; check the disk and the permissions."
    if isinstance(error, MambaSynthError):
        return str(error)
    return (
        f"this is a bug in MambaSynth ({type(error).__name__}: {error}); please report what the "
        "same command prints with --debug."
    )


def _say(text: str) -> None:
    with suppress(OSError):  # nobody listens
        print(text, file=sys.stderr)


def _let_go() -> None:
    """Drop what a closed pipe or a full disk did not take, so that Python does not try again."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _allow_any_text() -> None:
    """Print file names that the terminal's encoding lacks as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
