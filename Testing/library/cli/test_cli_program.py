"""The command as a program of its own: locales, pipes, Ctrl-C and bugs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from MambaSynthLib import engine as engine_module
from MambaSynthLib.cli import main
from MambaSynthLib.errors import FileError
from MambaSynthLib.io.files import write_volume
from Testing.library.cli.command_line import unchanged

ROOT = Path(__file__).resolve().parents[3]


def test_a_bug_of_ours_is_one_line_too_and_debug_shows_where(run, folder, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(engine_module, "Engine", broken)
    code, out, err = run()
    assert code == 1 and err.count("\n") == 1 and "bug" in err and "--debug" in err
    with pytest.raises(ZeroDivisionError):
        run("--debug")


@pytest.mark.parametrize("before", [True, False])
def test_debug_is_understood_before_and_after_the_command(before, tmp_path):
    words = ["verify", str(tmp_path / "missing.nii")]
    words = ["--debug", *words] if before else [*words, "--debug"]
    with pytest.raises(FileError):
        main(words)


@pytest.mark.parametrize(
    ("chosen", "spin"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_wait_asleep_beside_other_programs_unless_the_user_chose(chosen, spin, folder):
    code = (
        "import os, sys\nfrom MambaSynthLib.cli import program\nassert 'torch' not in sys.modules\n"
    )
    code += "try:\n    program()\nfinally:\n    print(os.environ.get('GOMP_SPINCOUNT'))"
    command = program("models", "list", env=chosen, capture_output=True)
    command["args"][1:3] = ["-c", code]
    done = subprocess.run(**command)
    assert done.returncode == 0 and done.stdout.split()[-1] == str(spin)


def program(*arguments, **changes):
    """Arguments for subprocess: this library, one thread, and an environment of our making."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {k: v for k, v in changes.pop("env", {}).items()}
    command = [sys.executable, "-m", "MambaSynthLib", *map(str, arguments)]
    return {"args": command, "env": environment, "text": True, "encoding": "utf-8"} | changes


def synthesis(folder, package, *options):
    return [
        "synthesize", folder / "head.nii.gz", "--to", "T2w", "--model", package.folder,
        "-o", folder / "out.nii.gz", "--force", *options,
    ]  # fmt: skip


def test_it_runs_without_a_home_in_the_c_locale_and_with_odd_letters(folder, head, tiny_package):
    write_volume(head, folder / "tête ü.nii")
    arguments = synthesis(folder, tiny_package, "--debug")
    arguments[1], arguments[7] = folder / "tête ü.nii", folder / "頭.nii"
    env = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "MPLCONFIGDIR": str(folder)}
    done = subprocess.run(**program(*arguments, env=env, capture_output=True))
    assert done.returncode == 0, done.stderr
    assert (folder / "頭.nii").exists() and "\\u982d.nii" in done.stdout


@pytest.mark.parametrize("closed", ["stdout", "stderr", "both"])
def test_a_listener_that_goes_away_does_not_stop_the_work(closed, folder, tiny_package):
    read, write = os.pipe()
    os.close(read)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    streams |= {name: write for name in streams if closed in (name, "both")}
    done = subprocess.run(**program(*synthesis(folder, tiny_package), **streams))
    os.close(write)
    assert (folder / "out.nii.gz").exists() and (folder / "out.json").exists()
    assert "Traceback" not in (done.stderr or "") and "Broken" not in (done.stderr or "")
    assert done.returncode == 0


@pytest.mark.parametrize("arguments", [["--help"], ["models", "list"], ["info"]])
def test_piping_into_head_shows_no_traceback(arguments):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(**program(*arguments, stdout=write, stderr=subprocess.PIPE))
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_stdout_is_no_error():
    command = program("models", "list", capture_output=True)
    command["args"] = ["sh", "-c", 'exec "$@" >&-', "sh", *command["args"]]
    done = subprocess.run(**command)
    assert (done.returncode, done.stderr) == (0, "")


SLOW = """
import signal, sys, time
from MambaSynthLib import engine
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
draw = engine.slice_noise
def slowly(*arguments):
    time.sleep(0.3)
    return draw(*arguments)
engine.slice_noise = slowly
from MambaSynthLib.cli import program
program()
"""
BUSY_S = 20.0
BUSY = f"""
import signal, time
import onnxruntime
signal.signal(signal.SIGINT, signal.default_int_handler)
def run(*_):
    print("computing", flush=True)
    time.sleep({BUSY_S})
onnxruntime.InferenceSession.run = run
from MambaSynthLib.cli import program
program()
"""


def test_control_c_stops_the_work_at_once_and_leaves_nothing(folder, tiny_package):
    command = program(*synthesis(folder, tiny_package), stderr=subprocess.PIPE)
    command["args"][1:3] = ["-c", SLOW]
    with unchanged(folder), subprocess.Popen(**command) as process:
        for line in process.stderr:
            if "1 of 8" in line or "0 of 8" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        code = process.wait()
    assert code == 130 and len(rest.splitlines()) <= 2, "it went on with the next slices"
    assert rest.endswith("mambasynth: interrupted, nothing was written\n")
    assert "Traceback" not in rest


def test_control_c_does_not_wait_for_a_thread_that_computes(folder, tiny_package):
    command = program(
        *synthesis(folder, tiny_package, "--backend", "onnxruntime"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    command["args"][1:3] = ["-c", BUSY]
    with unchanged(folder), subprocess.Popen(**command) as process:
        assert process.stdout.readline() == "computing\n"
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert time.monotonic() - started < BUSY_S / 2
        assert process.stderr.read().endswith("mambasynth: interrupted, nothing was written\n")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux for processes")
def test_control_c_ends_the_processes_of_a_cohort(tmp_path, head, tiny_package):
    (tmp_path / "in").mkdir()
    for number in range(3):
        write_volume(head, tmp_path / f"in/{number}_T1w.nii")
    command = program(
        "synthesize-set", tmp_path / "in", "-o", tmp_path / "out", "--to", "T2w", "--jobs", 2,
        "--model", tiny_package.folder, "--force", stderr=subprocess.PIPE,
    )  # fmt: skip
    slow = ["import signal", "signal.signal(signal.SIGINT, signal.default_int_handler)",
            "from MambaSynthLib.cli import program", "program()"]  # fmt: skip
    command["args"][1:3] = ["-c", "\n".join(slow)]
    with subprocess.Popen(**command) as process:
        while "synthesizing" not in process.stderr.readline():
            continue
        children = children_of(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert len(children) >= 2
    end = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < end, "a process outlived the one that it works for"
        time.sleep(0.05)


def children_of(parent):
    """Their numbers, once there are at least two; Linux tells."""
    found, end = [], time.monotonic() + 60
    while len(found) < 2 and time.monotonic() < end:
        time.sleep(0.01)
        found = [
            status.parent.name
            for status in Path("/proc").glob("[0-9]*/stat")
            if parent_of(status) == str(parent)
        ]
    return found


def parent_of(status):
    try:
        return status.read_text().rpartition(")")[2].split()[1]
    except OSError:
        return ""  # it is gone
