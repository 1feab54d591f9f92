"""The command line called from a test: what it returned, what it printed, what it changed."""

import contextlib

from MambaSynthLib.cli import main


def called(capsys, *arguments):
    """main() with what it returned or exited with, and what it printed."""
    capsys.readouterr()
    try:
        code = main([*map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    return code, said.out, said.err


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@contextlib.contextmanager
def unchanged(folder):
    before = contents(folder)
    yield
    assert contents(folder) == before


def refused(result, *said):
    """One line on stderr, nothing on stdout, exit code 2."""
    code, out, err = result
    assert (code, out) == (2, "") and err.startswith("mambasynth") and err.count("\n") == 1, err
    assert "Traceback" not in err and len(err) < 500
    for text in said:
        assert text in err
