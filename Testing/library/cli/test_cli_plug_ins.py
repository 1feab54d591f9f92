"""Commands that other packages bring, and packages that fail to."""

import sys
from importlib.metadata import EntryPoint

import pytest

from MambaSynthLib.commands import plug_ins
from Testing.library.cli.command_line import called, refused

GREETS = """
def add_parser(commands):
    commands.add_parser("greet", help="says hello").set_defaults(run=lambda o: print("hello") or 0)
"""


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """plug_in(package, **modules): an installed package of commands, as files of this content."""
    points = []
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plug_ins, "entry_points", lambda group: points)

    def install(package, **modules):
        folder = tmp_path / package
        for name, content in {"__init__": "", **modules}.items():
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.py").write_text(content)
        points.append(EntryPoint("x", package, plug_ins.GROUP))

    yield install
    for name in [name for name in sys.modules if name.partition(".")[0].endswith("_commands")]:
        del sys.modules[name]


def test_a_plug_ins_command_is_listed_and_runs(plug_in, capsys):
    plug_in("greeting_commands", greet=GREETS)
    assert "says hello" in called(capsys, "--help")[1]
    assert called(capsys, "greet")[:2] == (0, "hello\n")
    assert called(capsys, "--debug", "greet")[:2] == (0, "hello\n")


@pytest.mark.parametrize("words", [["models", "list"], ["--debug", "verify", "--help"]])
def test_no_plug_in_is_imported_for_a_command_of_the_library(words, plug_in, tmp_path, capsys):
    trace = f"open({str(tmp_path / 'imported')!r}, 'w').close()\n"
    plug_in("tracing_commands", __init__=trace, greet=GREETS)
    assert called(capsys, *words)[0] == 0
    assert not (tmp_path / "imported").exists()
    called(capsys, "--help")
    assert (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("import torch_of_nobody", "'torch_of_nobody' is not installed"),
        ("raise ZeroDivisionError('oh no')", "ZeroDivisionError: oh no"),
        ("def add_parser(commands): commands.add_parser('models')", "conflicting subparser"),
        ("", "has no attribute 'add_parser'"),
    ],
)
def test_a_plug_in_that_does_not_load_is_told_to_who_asks_for_an_unknown_command(
    module, why, plug_in, capsys
):
    plug_in("broken_commands", bad=module)
    plug_in("greeting_again_commands", greet=GREETS)
    code, said, err = called(capsys, "--help")
    assert (code, err) == (0, "") and "says hello" in said
    assert called(capsys, "models", "list")[2] == ""
    assert called(capsys, "greet")[2] == ""
    refused(called(capsys, "bad"), "invalid choice: 'bad'", "broken_commands.bad did not load", why)


def test_a_whole_package_that_does_not_load_is_told_too(plug_in, capsys):
    plug_in("worse_commands", __init__="raise RuntimeError('no')", greet=GREETS)
    refused(
        called(capsys, "greet"), "the commands of worse_commands did not load: RuntimeError: no"
    )
