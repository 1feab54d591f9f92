"""Several files are one set: all new or all old, whichever call fails, whenever a kill comes."""

import errno
import os
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io import parts
from MambaSynthLib.io.atomic import new_folder, together, write_whole
from MambaSynthLib.io.files import read_marks, read_volume, write_volume
from MambaSynthLib.io.marks import mark_in_sidecar
from Testing.provenance_records import RECORD

ROOT = Path(__file__).resolve().parents[3]
posix = pytest.mark.skipif(os.name != "posix", reason="signals, links and locks of POSIX")
IMAGES = ("image.nrrd", "spread.mha")
OLD, NEW = 1, 2


def write_set(folder, seed, overwrite=True):
    """Two images with their sidecars and a report, all of which say ``seed``."""
    volume = Volume(np.full((3, 4, 5), seed), np.eye(4), "head")
    with together() as files:
        for name in IMAGES:
            write_volume(
                volume, folder / name, provenance=replace(RECORD, seed=seed), overwrite=overwrite,
                into=files,
            )  # fmt: skip
        write_whole(folder / "report.png", b"report %d" % seed, into=files)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".part"}


@pytest.fixture
def made(tmp_path):
    """What the folder holds after a run with the old and with the new seed, and with neither."""
    found = {None: {}}
    for seed in (OLD, NEW):
        folder = tmp_path / f"made-{seed}"
        folder.mkdir()
        write_set(folder, seed)
        found[seed] = contents(folder)
        assert len(found[seed]) == 5
    return found


class Writer:
    """A stream whose writing counts as a call."""

    def __init__(self, stream, call):
        self.stream, self.call = stream, call

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, data):
        return self.call(self.stream.write, data)


def break_calls(patch, steps, at, error, lasting=False):
    """Let call number ``at`` of the ``steps`` together fail, and with ``lasting`` all after it.

    Returns how many calls there were, once they were made.
    """
    calls = []

    def call(function, *arguments, **options):
        calls.append(function)
        if len(calls) == at or (lasting and len(calls) > at):
            raise error
        return function(*arguments, **options)

    for step in steps:
        real = getattr(os, "fdopen" if step == "write" else step)
        if step == "write":
            patch.setattr(os, "fdopen", lambda *given, _real=real: Writer(_real(*given), call))
            continue
        patch.setattr(os, step, lambda *given, _real=real, **more: call(_real, *given, **more))
    return calls


STEPS = ("open", "write", "fsync", "link", "replace", "unlink")


@pytest.mark.parametrize("former", [None, OLD])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "Disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", STEPS)
def test_a_failure_of_any_call_leaves_all_old_or_all_new(
    tmp_path, monkeypatch, made, step, error, former
):
    for at in count(1):
        folder = tmp_path / f"try-{at}"
        folder.mkdir()
        for name, content in made[former].items():
            (folder / name).write_bytes(content)
        with monkeypatch.context() as patch:
            calls = break_calls(patch, [step], at, error)
            try:
                write_set(folder, NEW)
                after = made[NEW]
            except FileError as told:
                after = made[former]
                assert "nothing was changed" in str(told) and "Disk full" in str(told)
            except KeyboardInterrupt:
                after = contents(folder)
                assert after in (made[former], made[NEW])
        assert contents(folder) == after
        if step != "unlink":  # which removes the temporary names, too
            assert len(list(folder.iterdir())) == len(after)
        if len(calls) < at:
            break
    assert at > 3 or (step in ("link", "unlink") and not former)


def test_without_hard_links_the_old_files_come_back_from_copies(tmp_path, monkeypatch, made):
    folder = tmp_path / "made-1"
    with monkeypatch.context() as patch:
        links = break_calls(patch, ["link"], 1, OSError(errno.EPERM, "No links here"), lasting=True)
        break_calls(patch, ["replace"], 5, OSError(errno.EIO, "Input/output error"))
        with pytest.raises(FileError, match="Input/output error"):
            write_set(folder, NEW)
    assert len(links) == 5 and contents(folder) == made[OLD]


@pytest.mark.parametrize("at", range(1, 12))
def test_a_disk_that_stays_read_only_leaves_no_image_beside_the_record_of_another(
    tmp_path, monkeypatch, at
):
    write_set(tmp_path, OLD)
    with monkeypatch.context() as patch:
        calls = break_calls(
            patch, ["unlink", "replace"], at, OSError(errno.EROFS, "Read-only file system"), True
        )
        raised = None
        try:
            write_set(tmp_path, NEW)
        except FileError as error:
            raised = str(error)
    for name in IMAGES:
        record = mark_in_sidecar(tmp_path / name)
        assert (
            record is None or record.provenance.seed == read_marks(tmp_path / name).provenance.seed
        )
    seeds = [read_marks(tmp_path / name).provenance.seed for name in IMAGES]
    if at <= 7:  # two old sidecars go, then five names are given
        assert "Read-only file system" in raised and len(calls) > at
        all_old = seeds == [OLD, OLD] and all(mark_in_sidecar(tmp_path / name) for name in IMAGES)
        assert all_old != ("could not be restored" in raised)


def test_what_appeared_meanwhile_is_not_replaced_unasked(tmp_path, made):
    with pytest.raises(FileError, match=r"image.nrrd: exists already, perhaps since"):
        with together() as files:
            for name in IMAGES:
                write_volume(
                    Volume(np.full((3, 4, 5), NEW), np.eye(4)), tmp_path / name,
                    provenance=RECORD, into=files,
                )  # fmt: skip
            (tmp_path / "image.nrrd").write_text("of another run")
    assert (tmp_path / "image.nrrd").read_text() == "of another run"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["image.nrrd"]


def test_a_symbolic_link_in_the_place_of_an_output_comes_back_as_one(tmp_path, monkeypatch):
    (tmp_path / "elsewhere.png").write_bytes(b"mine")
    (tmp_path / "report.png").symlink_to(tmp_path / "elsewhere.png")
    with monkeypatch.context() as patch:
        break_calls(patch, ["replace"], 2, OSError(errno.EIO, "Input/output error"))
        with pytest.raises(FileError), together() as files:
            write_whole(tmp_path / "report.png", b"new", into=files)
            write_whole(tmp_path / "other.png", b"new", into=files)
    assert (tmp_path / "report.png").is_symlink()
    assert (tmp_path / "report.png").read_bytes() == b"mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere.png", "report.png"]


@pytest.mark.parametrize("failing", [False, True])
def test_an_empty_folder_is_filled_or_comes_back_empty(tmp_path, monkeypatch, failing):
    (tmp_path / "made").mkdir()

    def write():
        with together() as files:
            (files.folder(tmp_path / "made") / "inside").write_text("x")
            write_whole(tmp_path / "other.png", b"new", into=files)

    if failing:
        with monkeypatch.context() as patch:
            break_calls(patch, ["replace"], 2, OSError(errno.EIO, "Input/output error"))
            with pytest.raises(FileError):
                write()
        assert [p.name for p in tmp_path.rglob("*")] == ["made"]
    else:
        write()
        assert (tmp_path / "made/inside").read_text() == "x"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "other.png"]


# ---- killed runs ---------------------------------------------------------------------------------

KILLED = """
import os, random, signal, sys, time
from itertools import count
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from Testing.library.io.test_outputs_together import IMAGES, write_set
from MambaSynthLib.io.files import read_marks, read_volume
from MambaSynthLib.io.marks import mark_in_sidecar

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
choose, images, left = random.Random(3), 0, 0
(folder / "before").mkdir()
for seed in (1, 2):  # what is imported late is imported now, and the machine may be busy
    start = time.perf_counter()
    write_set(folder / "before", seed)
    takes = time.perf_counter() - start
for kill in range(kills):
    child = os.fork()
    if not child:
        for seed in count(1000 * kill + 1):
            write_set(folder, seed)
    time.sleep(choose.uniform(0, 3 * takes))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    left += any(folder.glob(".*.part"))
    for name in IMAGES:
        if (folder / name).exists():
            images += 1
            seed = read_marks(folder / name).provenance.seed
            assert (read_volume(folder / name).array == seed).all(), "half an image"
            record = mark_in_sidecar(folder / name)
            assert record is None or record.provenance.seed == seed, "the record of another"
write_set(folder, 5)
assert not list(folder.glob(".*")), "left by a killed run"
print(images, left)
"""


@posix
@pytest.mark.parametrize("kills", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_leaves_whole_files_and_the_next_run_clears_up(tmp_path, kills):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(kills), *filter(None, sys.path)],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    images, left = map(int, done.stdout.split())
    assert images > kills and left > kills // 4, "the kills must come while files are written"


def dead_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def part_of(machine, process, folder):
    return folder / f".mambasynth-{machine}-{process}-0123abcd.part"


@posix
def test_only_what_dead_runs_left_is_removed(tmp_path):
    here = parts._machine()
    dead = part_of(here, dead_process(), tmp_path)
    dead_folder = part_of(here, dead.name.split("-")[2], tmp_path).with_suffix(".2.part")
    alive, foreign = part_of(here, os.getppid(), tmp_path), part_of("0" * 8, 1, tmp_path)
    old_foreign = part_of("1" * 8, 1, tmp_path)
    others = [tmp_path / name for name in (".x.part", "mambasynth-1.part", ".mambasynth-x.txt")]
    for path in (dead, alive, foreign, old_foreign, *others):
        path.write_text("half")
    dead_folder.mkdir()
    (dead_folder / "model.json").write_text("{")
    os.utime(old_foreign, (0, 0))
    for path in (alive, *others):
        os.utime(path, (0, 0))
    write_whole(tmp_path / "x", b"x")
    left = {path for path in tmp_path.iterdir()}
    assert left == {alive, foreign, *others, tmp_path / "x"}


def test_a_folder_gets_its_name_at_the_end_or_never(tmp_path):
    with new_folder(tmp_path / "made") as staging:
        (staging / "inside").write_text("x")
        assert not (tmp_path / "made").exists()
    assert (tmp_path / "made/inside").read_text() == "x"
    with pytest.raises(FileError, match="made: exists already"), new_folder(tmp_path / "made"):
        """Somebody made it meanwhile."""
    with pytest.raises(RuntimeError), new_folder(tmp_path / "other"):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


# ---- two runs ------------------------------------------------------------------------------------

RACER = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[4:]
from Testing.library.io.test_outputs_together import write_set
from MambaSynthLib.errors import FileError

folder, seed = Path(sys.argv[1]), int(sys.argv[2])
while not (folder / "go").exists():
    time.sleep(0.001)
try:
    write_set(folder, seed, overwrite=sys.argv[3] == "True")
except FileError as error:
    sys.exit(str(error))
"""


@posix
@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_runs_into_one_output_one_is_refused_or_the_last_one_stays_whole(
    tmp_path, overwrite
):
    for race in range(2):
        folder = tmp_path / str(race)
        folder.mkdir()
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACER, str(folder), str(seed), str(overwrite),
                 *filter(None, sys.path)], stderr=subprocess.PIPE, text=True, cwd=ROOT,
            )
            for seed in (1, 2)
        ]  # fmt: skip
        (folder / "go").touch()
        said = [racer.communicate()[1] for racer in racers]
        codes = [racer.returncode for racer in racers]
        seeds = {read_marks(folder / name).provenance.seed for name in IMAGES}
        seeds |= {mark_in_sidecar(folder / name).provenance.seed for name in IMAGES}
        assert len(seeds) == 1 and read_volume(folder / IMAGES[0]).array.max() in seeds
        assert contents(folder)["report.png"] == b"report %d" % seeds.pop()
        assert codes.count(0) == (2 if overwrite else 1), said
        if not overwrite:
            (refused,) = (text for text in said if text)
            assert "exists already" in refused


@posix
def test_a_run_that_does_not_let_go_of_a_folder_is_told_and_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PATIENCE_S", 0.05)
    with parts.alone_in(tmp_path):
        with pytest.raises(FileError, match="another run has been writing into this folder"):
            write_whole(tmp_path / "x", b"x")
    assert list(tmp_path.iterdir()) == []
    write_whole(tmp_path / "x", b"x")


def test_where_a_file_system_has_no_locks_files_are_written_without(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    write_whole(tmp_path / "x", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
