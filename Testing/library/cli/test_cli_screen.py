"""What reaches the screen and stdout: no control characters of files, and no result undone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from MambaSynthLib.io.files import write_volume
from MambaSynthLib.model.package import CARD, README, SEAL
from MambaSynthLib.model.registry import user_models
from Testing.library.cli.command_line import called

ROOT = Path(__file__).resolve().parents[3]
ESCAPES = "\x1b[31mred\x07\x9b2J\u202e"
ESCAPED = "\\x1b[31mred\\x07\\x9b2J\\u202e"


def steers(text):
    return [char for char in text if not char.isprintable() and char not in "\n"]


@pytest.fixture
def coloured(make_package):
    """A package whose title and README would steer a terminal."""
    folder = make_package(user_models() / "coloured", id="coloured").folder
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | {"title": f"Title {ESCAPES}"}))
    (folder / SEAL).unlink()
    (folder / README).write_text(f"# Readme {ESCAPES}\n\n\ta tab\n")
    return folder


@pytest.mark.parametrize("words", [["list"], ["show", "coloured"], ["verify"]])
def test_no_title_of_a_model_steers_the_terminal(coloured, capsys, words):
    _, said, err = called(capsys, "models", *words)
    assert steers(said + err) == [] and "coloured" in said
    assert words == ["verify"] or ESCAPED in said


def test_a_card_without_readme_is_shown_without_steering(coloured, capsys):
    (coloured / README).unlink()
    _, said, _ = called(capsys, "models", "show", "coloured")
    assert f"# Title {ESCAPED}" in said and steers(said) == []


def test_no_name_of_a_file_steers_the_terminal(run, folder, head, capsys):
    name = f"head {ESCAPES}.nii.gz"
    write_volume(head, folder / name)
    code, said, err = run("--report", folder / f"r{ESCAPES}.png", source=name, out=f"out {name}")
    assert code == 0 and steers(said + err) == [] and said.count(ESCAPED) >= 3
    code, said, err = called(capsys, "verify", folder / f"out {name}")
    assert code == 0 and steers(said + err) == [] and ESCAPED in said


def test_no_name_in_a_cohort_steers_the_terminal(tmp_path, tiny_package, capsys, head):
    (tmp_path / "in").mkdir()
    (tmp_path / f"in/a{ESCAPES}_T1w.nii.gz").write_bytes(b"no image")
    words = [tmp_path / "in", "--to", "T2w", "--model", tiny_package.folder]
    for where in ("-o", "--status"):
        code, said, err = called(capsys, "synthesize-set", *words, where, tmp_path / "out")
        assert code in (2, 3) and steers(said + err) == [] and ESCAPED in said + err


# --- a stdout that takes nothing ------------------------------------------------------------------


def with_full_stdout(*words, **options):
    """(exit code, stderr) of the program whose stdout is a full disk."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "MambaSynthLib", *map(str, words)],
            stdout=full, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, **options,
        )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_files_that_were_written_are_no_failure_where_stdout_takes_nothing(
    folder, tiny_package, as_json
):
    code, err = with_full_stdout(
        "synthesize", "--force", folder / "head.nii.gz", "--to", "T2w", "-o", folder / "out.nii.gz",
        "--model", tiny_package.folder, *as_json,
    )  # fmt: skip
    assert code == 0 and (folder / "out.nii.gz").is_file() and (folder / "out.json").is_file()
    assert err.splitlines()[-1] == (
        "the files were written, but what they are cannot be printed (No space left on device)"
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_model_that_was_installed_is_no_failure_where_stdout_takes_nothing(tiny_package):
    code, err = with_full_stdout("models", "import", tiny_package.folder)
    assert code == 0 and "cannot be printed (No space left on device)" in err
    assert (user_models() / tiny_package.card.id).is_dir()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_an_answer_that_cannot_be_printed_is_a_failure(folder):
    code, err = with_full_stdout("verify", folder / "head.nii.gz")
    assert code == 2 and err.count("\n") == 1 and "No space left on device" in err
