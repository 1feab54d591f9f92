"""The child process: requests, progress, cancel, crashes, and what is left behind."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "MambaSynth")]

from MambaSynthSlicer import worker as worker_module  # noqa: E402
from MambaSynthSlicer.worker import Worker  # noqa: E402

from MambaSynthLib.image.volume import Volume  # noqa: E402
from MambaSynthLib.server.exchange import load_volume, save_volume  # noqa: E402

LAUNCHER = [sys.executable, "-S", str(HERE / "slicerstand" / "launcher.py")]
FAKE = [*LAUNCHER, sys.executable, str(HERE / "fake_engine.py")]


@pytest.fixture
def worker(tmp_path):
    worker = Worker(FAKE, tmp_path)
    yield worker
    worker.stop()


def a_volume(slices=20):
    array = np.random.default_rng(0).random((6, 5, slices), dtype=np.float32)
    return Volume(array, np.diag([1.0, 1.0, 3.0, 1.0]), "head")


def start(worker, model="inverter", slices=20, **options):
    folder = worker.newRunFolder()
    file = save_volume(a_volume(slices), folder / "T1w.npz")
    request = {"model": model, "device": "cpu", "sources": {"T1w": str(file)}}
    worker.run("synthesize", {**request, "folder": str(folder), **options})
    return folder


def wait_for(worker, *kinds, seconds=10.0):
    """Every event until one of these kinds, which is the last."""
    events, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        for event in worker.poll():
            events.append(event)
            if event["event"] in kinds:
                return events
        time.sleep(0.005)
    raise AssertionError(f"none of {kinds} within {seconds} s, only {events}")


def test_a_run_reports_progress_and_returns_the_volume_on_its_grid(worker):
    folder = start(worker)
    events = wait_for(worker, "done")
    progress = [(e["done"], e["total"]) for e in events if e["event"] == "progress"]
    assert progress == [(k + 1, 20) for k in range(20)]
    target = load_volume(events[-1]["targets"]["T2w"])
    source = a_volume()
    assert np.array_equal(target.array, source.array.max() - source.array)
    assert np.array_equal(target.affine, source.affine)
    assert events[-1]["provenance"]["Model"] == "inverter"
    assert Path(events[-1]["targets"]["T2w"]).parent == folder and not worker.busy


def test_the_model_stays_loaded_and_the_second_run_starts_within_a_second(worker):
    start(worker, "loads-slowly")
    assert "loading" in [e["event"] for e in wait_for(worker, "done")]
    begun = time.monotonic()
    start(worker, "loads-slowly")
    events = wait_for(worker, "progress")
    assert time.monotonic() - begun < 1.0
    assert "loading" not in [e["event"] for e in events]


@pytest.mark.parametrize("model", ["slow", "stubborn"])
def test_cancel_is_answered_within_a_second_and_the_next_run_works(worker, model):
    start(worker, model, slices=200)
    wait_for(worker, "progress")
    begun = time.monotonic()
    worker.cancel()
    wait_for(worker, "cancelled")
    assert time.monotonic() - begun < 1.0 and not worker.busy
    start(worker)
    wait_for(worker, "done")


def test_the_child_itself_answers_a_cancel_that_the_computation_ignores(worker, monkeypatch):
    monkeypatch.setattr(worker_module, "CANCEL_LIMIT_S", 1000)  # no help from the parent
    start(worker, "stubborn", slices=200)
    wait_for(worker, "progress")
    begun = time.monotonic()
    worker.cancel()
    assert wait_for(worker, "cancelled")[-1]["exiting"]
    assert time.monotonic() - begun < 1.0


def test_cancel_while_the_child_is_still_starting_is_answered_within_a_second(worker):
    start(worker)
    begun = time.monotonic()
    worker.cancel()
    wait_for(worker, "cancelled")
    assert time.monotonic() - begun < 1.0


def test_a_heeded_cancel_keeps_the_child(worker):
    start(worker, "slow", slices=200)
    wait_for(worker, "progress")
    child = worker._child
    worker.cancel()
    wait_for(worker, "cancelled")
    start(worker)
    wait_for(worker, "done")
    assert worker._child is child


def test_a_users_error_arrives_as_its_sentence_without_a_traceback(worker):
    start(worker, "refuses")
    event = wait_for(worker, "failed")[-1]
    assert event["message"] == "Head.nii: is constant, so there is nothing to synthesize."
    assert event["details"] == ""


def test_a_bug_arrives_with_its_traceback_and_the_child_lives_on(worker):
    start(worker, "broken")
    event = wait_for(worker, "failed")[-1]
    assert "ZeroDivisionError: a bug" in event["message"] and "Traceback" in event["details"]
    start(worker)
    wait_for(worker, "done")


def test_prints_of_libraries_go_to_the_log_and_not_among_the_events(worker):
    start(worker, "noisy")
    events = wait_for(worker, "done")
    log = [e["text"] for e in events if e["event"] == "log"]
    assert "this is not an event" in log and "nor is this" in log


def test_a_line_of_the_log_that_is_no_utf_8_is_shown_as_well_as_it_can_be(worker):
    start(worker, "noisy")
    wait_for(worker, "done")
    start(worker, "dies")
    assert "gr\ufffd\ufffde\nout of cheese" in wait_for(worker, "crashed")[-1]["details"]


def test_a_crash_is_told_with_its_reason_and_the_next_run_starts_a_new_child(worker):
    start(worker, "dies")
    event = wait_for(worker, "crashed")[-1]
    assert "exit code 7, out of cheese." in event["message"]
    start(worker)
    wait_for(worker, "done")


@pytest.mark.parametrize("command", [FAKE, FAKE[-2:]], ids=["launched", "alone"])
def test_a_killed_child_is_told_as_lack_of_memory(worker, command):
    worker.command = command
    start(worker, "slow", slices=200)
    wait_for(worker, "progress")
    os.kill(worker._child.innerPid, signal.SIGKILL)
    assert "memory ran out" in wait_for(worker, "crashed")[-1]["message"]


def test_a_crash_inside_a_library_is_told_as_one(worker):
    start(worker, "crashes")
    event = wait_for(worker, "crashed")[-1]
    assert "ended by itself: it crashed (Segmentation fault)." in event["message"]
    assert "fake_engine.py" in event["details"]


def test_the_last_words_of_one_child_do_not_explain_the_end_of_the_next(worker):
    start(worker, "dies")
    assert "out of cheese" in wait_for(worker, "crashed")[-1]["message"]
    start(worker, "dies-silently")
    event = wait_for(worker, "crashed")[-1]
    assert event["message"] == "The synthesis process ended by itself: exit code 7."
    assert event["details"] == ""


def test_a_second_run_at_the_same_time_is_refused(worker):
    start(worker, "slow")
    with pytest.raises(RuntimeError, match="running already"):
        start(worker)


def test_a_child_of_another_protocol_is_not_used(worker, monkeypatch):
    monkeypatch.setattr(worker_module, "PROTOCOL", 99)
    start(worker)
    assert "protocol 1, not 99" in wait_for(worker, "crashed")[-1]["message"]


def test_a_missing_interpreter_raises_at_once(tmp_path):
    worker = Worker(["/no/such/python"], tmp_path)
    with pytest.raises(OSError):
        worker.askDevices()
    worker.stop()


def test_the_folder_is_private_and_gone_after_stop(worker, tmp_path):
    folder = start(worker)
    wait_for(worker, "done")
    if os.name == "posix":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    worker.stop()
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------- nothing outlives its launcher


def all_gone(pids, seconds=2.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(is_running, pids)):
        time.sleep(0.01)
    return not any(map(is_running, pids))


def running_pids(worker):
    """Launcher and child of a run that is under way."""
    wait_for(worker, "progress")
    pids = [worker._child.process.pid, worker._child.innerPid]
    assert len(set(pids)) == 2 and all(map(is_running, pids))
    return pids


def next_run_works(worker):
    """Its files are there when it ends, and long after."""
    start(worker)
    file = Path(wait_for(worker, "done")[-1]["targets"]["T2w"])
    assert load_volume(file).shape == (6, 5, 20)
    return file


def test_a_hard_cancel_ends_launcher_and_child_and_spares_the_next_runs_files(worker, monkeypatch):
    """Twenty times; then longer than an orphan would take to clear its folder away."""
    monkeypatch.setattr(worker_module, "CANCEL_LIMIT_S", 0.05)  # before the child answers
    for _ in range(20):
        start(worker, "stubborn", slices=2000)
        pids = running_pids(worker)
        worker.cancel()
        wait_for(worker, "cancelled")
        assert all_gone(pids)
    file = next_run_works(worker)
    time.sleep(3.5)
    assert file.exists()


def test_a_child_that_is_killed_takes_its_launcher_along_and_the_reason_is_told(worker):
    for _ in range(20):
        start(worker, "slow", slices=2000)
        pids = running_pids(worker)
        os.kill(pids[1], signal.SIGKILL)
        assert "memory ran out" in wait_for(worker, "crashed")[-1]["message"]
        assert all_gone(pids)
        next_run_works(worker)


def test_a_launcher_that_is_killed_leaves_no_child(worker):
    start(worker, "stubborn", slices=2000)
    pids = running_pids(worker)
    os.kill(pids[0], signal.SIGKILL)
    assert "memory ran out" in wait_for(worker, "crashed")[-1]["message"]
    assert all_gone(pids)
    next_run_works(worker)


def test_stop_in_the_middle_of_a_run_leaves_neither_process_nor_file(worker, tmp_path):
    start(worker, "stubborn", slices=2000)
    pids = running_pids(worker)
    worker.stop()
    assert all_gone(pids) and list(tmp_path.iterdir()) == []


def test_a_result_is_still_there_when_the_child_ends_right_after_it(worker):
    start(worker)
    end = time.monotonic() + 10
    while worker._events.qsize() < 23 and time.monotonic() < end:  # ready, loading, 20, done
        time.sleep(0.01)
    os.kill(worker._child.process.pid, signal.SIGKILL)
    while not any(event["event"] == "ended" for _, event in list(worker._events.queue)):
        time.sleep(0.01)
    (done,) = [event for event in worker.poll() if event["event"] == "done"]
    assert load_volume(done["targets"]["T2w"]).shape == (6, 5, 20)
    next_run_works(worker)
    assert not Path(done["targets"]["T2w"]).exists()


class Kernel:
    """Windows' job calls, as its documentation has them, written down."""

    class CreateJobObject:  # its result type is set, as ctypes has it
        def __call__(self, *_):
            return 7

    def __init__(self, grants=True):
        self.calls, self.grants = [], grants
        self.CreateJobObjectW = self.CreateJobObject()

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append(name)
            return name != "AssignProcessToJobObject" or self.grants

        return call


def test_on_windows_the_launcher_is_put_into_a_job_that_is_ended_as_a_whole():
    from types import SimpleNamespace

    from MambaSynthSlicer.process_tree import Job

    kernel = Kernel()
    job = Job.around(SimpleNamespace(_handle=5), kernel)
    job.end()
    assert kernel.calls == [
        "SetInformationJobObject",
        "AssignProcessToJobObject",
        "TerminateJobObject",
        "CloseHandle",
    ]


def test_without_a_job_there_is_none():
    from types import SimpleNamespace

    from MambaSynthSlicer.process_tree import Job

    kernel = Kernel(grants=False)
    assert Job.around(SimpleNamespace(_handle=5), kernel) is None
    assert kernel.calls[-1] == "CloseHandle"


def test_folders_of_dead_sessions_are_cleared_away_and_living_ones_kept(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = tmp_path / f"{worker_module.PREFIX}{ended.pid}_abc"
    alive = tmp_path / f"{worker_module.PREFIX}{os.getppid()}_abc"
    foreign = tmp_path / f"{worker_module.PREFIX}notes_abc"
    for folder in (dead, alive, foreign):
        folder.mkdir()
    worker_module.removeFoldersOfDeadSessions(tmp_path)
    assert not dead.exists() and alive.exists() and foreign.exists()


PARENT = """
import sys, time
sys.path[:0] = {paths!r}
from pathlib import Path
from test_worker import start, wait_for, Worker, FAKE
worker = Worker(FAKE, Path({folder!r}))
start(worker, {model!r}, slices=2000)
wait_for(worker, "progress")
print(worker._child.process.pid, worker._child.innerPid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("model", ["slow", "stubborn"])
def test_launcher_and_child_of_a_killed_parent_end_within_5_seconds_and_clean_up(tmp_path, model):
    script = PARENT.format(paths=[str(HERE)], folder=str(tmp_path), model=model)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    assert all_gone(pids, seconds=5)
    assert list(tmp_path.iterdir()) == []


def is_running(pid):
    """Alive and no zombie (nobody may be there to collect an orphan in a container)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for PythonSlicer is a shell script")
def test_inside_slicer_the_child_runs_in_pythonslicer(tmp_path, monkeypatch):
    """The real ``python -m MambaSynthLib serve``, started as Slicer would."""
    pytest.importorskip("torch")
    script = tmp_path / "bin" / "PythonSlicer"
    script.parent.mkdir()
    launch = " ".join(f'"{part}"' for part in [*LAUNCHER, sys.executable])
    script.write_text(f'#!/bin/sh\ntouch "{tmp_path}/used"\nexec {launch} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    worker = Worker(temporaryFolder=tmp_path)
    worker.askDevices()
    devices = wait_for(worker, "devices", "failed", seconds=60)[-1]["devices"]
    worker.stop()
    assert (tmp_path / "used").exists() and devices[-1]["id"] == "cpu"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "is not JSON"),
        ("[1]", 'not an object with a "do"'),
        ('{"do": "synthesize", "id": 1}', "lacks folder, model, sources"),
    ],
)
def test_a_malformed_request_is_told_and_serving_goes_on(worker, line, complaint):
    worker._start()
    worker._child.process.stdin.write(line + "\n")
    worker._child.process.stdin.flush()
    event = wait_for(worker, "failed")[-1]
    assert complaint in event["message"] and event["id"] is None
    start(worker)
    wait_for(worker, "done")


def test_an_unknown_request_is_refused(worker):
    worker._start()
    worker._send({"do": "dance", "id": 5})
    assert "'dance' is unknown to protocol 1" in wait_for(worker, "failed")[-1]["message"]
