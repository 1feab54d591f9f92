"""The command ``mambasynth``: parse, dispatch, and turn errors into one sentence.

Exit codes: 0 done, 2 something the user can put right (nothing was written, but by synthesize-set
the files that went well), 3 the answer is no (verify: no mark of synthesis; synthesize-set
--status: something is missing), 130 interrupted, 1 a bug of ours. Each failure is one line on
stderr; --debug shows the traceback.
Only the chosen command's modules are imported, so ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import NoReturn

from MambaSynthLib import __version__
from MambaSynthLib.commands.console import drop_unprinted
from MambaSynthLib.commands.plug_ins import add_plug_ins
from MambaSynthLib.errors import Cancelled, MambaSynthError
from MambaSynthLib.installation import remedy_for_module
from MambaSynthLib.io.payload import printable

COMMANDS = (
    "synthesize",
    "synthesize-set",
    "cine",
    "evaluate-cine",
    "mask",
    "models",
    "evaluate",
    "dicom",
    "verify",
    "info",
    "demo",
    "serve",
)
EXIT_BUG, EXIT_USER, EXIT_INTERRUPTED = 1, 2, 130
MOST_SHOWN = 400  # characters of a complaint that may quote an argument of any length
READING = (  # an option of some commands, what readers say of it, and what the others say instead
    ("allow_synthetic_input", ", or allow it with --allow-synthetic-input", ""),
    ("nan_as_zero", ", or read them as zero with --nan-as-zero", ""),
    ("prefer", ", or read it with --prefer sform where it has an sform", ""),
    ("prefer", "find out which one is right and read it with --prefer sform or --prefer qform",
     "correct its header"),
)  # fmt: skip
EXPECTED = (MambaSynthError, ModuleNotFoundError, MemoryError, OSError)
SPIN = {"GOMP_SPINCOUNT": "1000"}  # tries before a thread sleeps; GNU OpenMP's own are 300,000


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line, with the nearest known option."""

    without: dict[str, Exception] = {}  # plug-ins that did not load -> why

    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: (--[\w-]+)", message)
        if unknown:
            message += self._hint(unknown[1])
        message = printable(message)[:MOST_SHOWN]
        if "argument COMMAND: invalid choice" in message:
            for plug_in, reason in self.without.items():
                expected = isinstance(reason, EXPECTED)
                why = sentence(reason) if expected else f"{type(reason).__name__}: {reason}"
                message += printable(f"; the commands of {plug_in} did not load: {why.rstrip('.')}")
        self.exit(EXIT_USER, f"{self.prog}: {message}; see {self.prog} --help\n")

    def _hint(self, option: str) -> str:
        """Whose option an unknown one is, or which one it is like."""
        parsers = {
            parser.prog.partition(" ")[2]: parser._option_string_actions
            for parser in self.all_parsers()
        }
        if owners := [command for command, known in parsers.items() if option in known]:
            return f" (an option of {', '.join(owners[:3])})"
        near = get_close_matches(option, [name for known in parsers.values() for name in known], 1)
        return f" (did you mean {near[0]}?)" if near else ""

    def all_parsers(self) -> list[argparse.ArgumentParser]:
        parsers: list[argparse.ArgumentParser] = [self]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    parsers += parser.all_parsers()
        return parsers


def build_parser(arguments: Sequence[str]) -> Parser:
    """The parser of all commands. The command modules import nothing heavy at file scope.

    Those of plug-ins are imported only where ``arguments`` do not name one of the library's own.
    """
    parser = Parser(
        prog="mambasynth",
        description="Synthesize MR contrasts and cine frames that were not acquired. Research use, "
        "not for diagnosis.",
        epilog="Exit codes: 0 done; 2 something you can put right; 3 the answer is no (verify: no "
        "mark of synthesis; synthesize-set --status: something is missing); 130 interrupted; 1 a "
        "bug of ours.",
    )
    parser.add_argument("--version", action="version", version=f"mambasynth {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"MambaSynthLib.commands.{name.replace('-', '_')}")
        module.add_parser(commands)
    if not _is_own(arguments):
        parser.without = add_plug_ins(commands)
    for each in parser.all_parsers():  # before the command and after it
        each.add_argument("--debug", action="store_true", default=argparse.SUPPRESS,
                          help="show the traceback of an error")  # fmt: skip
    parser.set_defaults(debug=False)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = argparse.Namespace(debug=False)
    try:
        _allow_any_text()
        try:
            words = sys.argv[1:] if arguments is None else arguments
            options = build_parser(words).parse_args(words)
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
        _say(f"mambasynth: {printable(_for_command(sentence(error), options))}")
        return EXIT_USER if isinstance(error, EXPECTED) else EXIT_BUG
    finally:
        drop_unprinted()


def program() -> NoReturn:
    """``main`` as a process of its own, which ends at once where it was interrupted.

    Python would wait for threads, and a pool for its processes, to finish what nobody wants now.
    The threads of PyTorch, which only commands import, wait asleep: awake they take the processor
    from the one that computes as soon as another program runs. A choice of the user's stays, and so
    do plug-ins: a training on all cores of an idle machine takes longer with threads that sleep.
    """
    if _is_own(sys.argv[1:]) and not {*SPIN, "OMP_WAIT_POLICY"} & {*os.environ}:
        os.environ.update(SPIN)
    code = main()
    if code == EXIT_INTERRUPTED:
        if "multiprocessing" in sys.modules:
            for child in sys.modules["multiprocessing"].active_children():
                child.terminate()
        os._exit(code)
    sys.exit(code)


def _is_own(arguments: Sequence[str]) -> bool:
    """Whether the command is one of the library's, not a plug-in's."""
    return next((word for word in arguments if not word.startswith("-")), None) in COMMANDS


def _for_command(text: str, options: argparse.Namespace) -> str:
    """Without options that are not this command's."""
    for name, remedy, instead in READING:
        if not hasattr(options, name):
            text = text.replace(remedy, instead)
    return text


def sentence(error: Exception) -> str:
    """What happened and what to do about it."""
    if isinstance(error, ModuleNotFoundError):
        return remedy_for_module(error.name or str(error))
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


def _allow_any_text() -> None:
    """Print file names that the terminal's encoding lacks as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
