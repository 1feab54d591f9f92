"""``mambasynth cine``: files in and out, or one sentence, exit code 2 and nothing left behind."""

import json

import numpy as np
import pytest
from PIL import Image

from MambaSynthLib.cli import main
from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.io.cine_writing import write_cine
from MambaSynthLib.io.dicom_series import open_series
from MambaSynthLib.io.files import read_marks, write_volume
from MambaSynthLib.provenance import Provenance
from MambaSynthLib.report import film as cine_report
from MambaSynthLib.report.film import Film
from MambaSynthLib.report.moving_pictures import WRITERS
from Testing.library.cine_hearts import beat, heart, random_package
from Testing.library.dicom_slices import dicom_series, edit, of_a_person

TIMES = (0.0, 100.0, 250.0, 400.0)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return random_package(tmp_path_factory.mktemp("models") / "tiny-cine")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    write_volume(heart(5, "ed"), folder / "ed.nii.gz")
    write_volume(heart(3, "es"), folder / "es.nii.gz")
    for number, frame in enumerate(beat(), start=1):
        (folder / "coarse").mkdir(exist_ok=True)
        write_volume(frame, folder / "coarse" / f"{number}.nii.gz")
    return folder


@pytest.fixture
def run(folder, package, capsys):
    """run("ed.nii.gz", ..., "--option") -> (exit code, stdout, stderr); names lie in folder."""

    def run(*arguments, out="out.nii.gz", frames=5):
        capsys.readouterr()
        inputs = [str(folder / a) if (folder / str(a)).exists() else str(a) for a in arguments]
        options = ["--frames", str(frames), "-o", str(folder / out), "--model", str(package.folder)]
        try:
            code = main(["cine", *inputs, *options])
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_ed_and_es_become_a_cine_that_is_marked_and_verified(run, folder, capsys):
    code, out, err = run("ed.nii.gz", "es.nii.gz", "--times", "10", "358", "--report",
                         folder / "r.gif")  # fmt: skip
    assert code == 0 and "wrote" in out and "5 of 5 frames" in err
    cine = read_cine(folder / "out.nii.gz")
    assert cine.times_ms == (10, 97, 184, 271, 358)
    assert np.array_equal(cine.frames[0].array, heart(5).array)
    assert np.array_equal(cine.frames[4].array, heart(3).array)
    assert main(["verify", str(folder / "out.nii.gz")]) == 0
    assert "acquired: frames 1, 5; all others are synthetic" in capsys.readouterr().out
    gif = Image.open(folder / "r.gif")
    assert gif.n_frames == 5 and b"SYNTHETIC" in gif.info["comment"]
    assert gif.info["duration"] == pytest.approx(2 * 87, abs=10)


def test_a_coarse_cine_keeps_its_frames_and_goes_to_a_sequence_or_a_folder(run, folder):
    for out in ("out.seq.nrrd", "frames"):
        code, said, _ = run("coarse", "--json", out=out, frames=7)
        record = json.loads(said)
        assert code == 0 and len(record["times_ms"]) == 7 and "blood pool" in record["phases"]
        cine = read_cine(folder / out)
        kept = [cine.frames[number - 1].array for number in record["acquired"]]
        assert all(np.array_equal(a, b.array) for a, b in zip(kept, beat(), strict=True))


def test_a_dicom_cine_becomes_a_denser_dicom_cine_with_its_frames_to_the_bit(run, folder, capsys):
    dicom_series(folder / "scan", change=of_a_person)
    assert run("scan", "--dicom", out="dense", frames=7)[0] == 0
    assert run("scan", out="dense.nii.gz", frames=7)[0] == 0
    dense, same = open_series(folder / "dense").cine(), read_cine(folder / "dense.nii.gz")
    assert len(dense.frames) == 7
    np.testing.assert_allclose(dense.times_ms, same.times_ms, atol=1e-6)
    acquired = read_marks(folder / "dense").provenance.acquired
    for number, (one, other) in enumerate(zip(dense.frames, same.frames, strict=True), start=1):
        apart = np.abs(one.array - other.array).max()
        assert apart == 0 if number in acquired else apart <= 0.5
    later = folder / "later"
    arguments = ["dicom", folder / "dense.nii.gz", "--source", folder / "scan", "-o", later]
    assert main([*map(str, arguments)]) == 0
    assert {p.name: p.read_bytes() for p in later.iterdir()} == {
        p.name: p.read_bytes() for p in (folder / "dense").iterdir()
    }


@pytest.mark.parametrize(
    ("inputs", "said"),
    [(("ed.nii.gz", "es.nii.gz"), "refers to one series"), (("coarse",), "holds no DICOM files"),
     (("scan",), "coarse: exists already"), (("out",), "synthetic already")],
)  # fmt: skip
def test_a_dicom_cine_of_no_dicom_is_refused(run, folder, inputs, said):
    dicom_series(folder / "scan", change=of_a_person)
    dicom_series(folder / "out", change=edit(SyntheticData="YES"))
    before = sorted(folder.rglob("*"))
    code, _, err = run(*inputs, "--dicom", out="coarse")
    assert code == 2 and said in err and sorted(folder.rglob("*")) == before


def test_the_user_can_name_the_phases_and_leave_out_the_rest(run, folder):
    code, out, _ = run("coarse", "--ed", "4", "--es", "3", "--only-ed-es", frames=3)
    assert code == 0 and "ED frame 4, ES frame 3: given by the user" in out
    assert np.array_equal(read_cine(folder / "out.nii.gz").frames[0].array, beat()[3].array)


@pytest.mark.parametrize("refined", [[], ["--no-refine"]])
def test_a_course_from_ed_to_es_is_not_said_to_be_used_where_frames_lie_between(
    run, folder, refined
):
    (folder / "curve.csv").write_text("0,0\n50,0.9\n100,1\n")
    timing = ["--timing", folder / "curve.csv", *refined, "--refine-steps", "10"]
    code, _, err = run("coarse", *timing, frames=6)
    record = json.loads((folder / "out.json").read_text())
    assert code == 0 and record["Timing"] != "curve.csv"
    assert "the course curve.csv is one from ED to ES and not used" in err
    code, _, err = run("coarse", *timing, "--only-ed-es", out="two.nii.gz")
    record = json.loads((folder / "two.json").read_text())
    assert code == 0 and record["Timing"] == "curve.csv" and "not used" not in err


def test_equal_and_swapped_phases_work_with_a_warning(run, folder):
    code, _, err = run("ed.nii.gz", "ed.nii.gz")
    assert code == 0 and "identical" in err
    assert all(np.array_equal(f.array, heart(5).array)
               for f in read_cine(folder / "out.nii.gz").frames)  # fmt: skip
    code, _, err = run("es.nii.gz", "ed.nii.gz", "--overwrite")
    assert code == 0 and "swapped" in err


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("ed.nii.gz",), {}, "1 frame, but a cine needs two"),
        (("ed.nii.gz", "no.nii.gz"), {}, "no.nii.gz: does not exist"),
        (("ed.nii.gz", "es.nii.gz", "ed.nii.gz"), {}, "3 inputs were given"),
        (("ed.nii.gz", "small.nii.gz"), {}, "voxels"),
        (("ed.nii.gz", "es.nii.gz"), {"frames": 1}, "frames is 1"),
        (("coarse",), {"frames": 3}, "give 4 to 10000"),
        (("coarse", "--ed", "9"), {}, "frame 9 is not in"),
        (("coarse", "--times", "1", "2"), {}, "one cine has its own"),
        (("ed.nii.gz", "es.nii.gz", "--ed", "1"), {}, "two inputs are ED and ES"),
        (("ed.nii.gz", "es.nii.gz", "--times", "5", "5"), {}, "not after frame 1"),
        (("ed.nii.gz", "es.nii.gz"), {"out": "out.mha"}, "cannot be written in this format"),
        (("ed.nii.gz", "es.nii.gz"), {"out": "ed.nii.gz"}, "input itself"),
        (("ed.nii.gz", "es.nii.gz", "--report", "r.txt"), {}, "one of .gif, .mp4, .png"),
        (("coarse",), {"out": "coarse"}, "never replaced"),
    ],
)  # fmt: skip
def test_what_makes_no_cine_is_refused_in_one_sentence(run, folder, arguments, options, said):
    write_volume(heart(3, "small", (12, 12, 4)), folder / "small.nii.gz")
    before = sorted(p.name for p in folder.rglob("*"))
    code, out, err = run(*arguments, **options)
    assert (code, out) == (2, "") and said in err and err.count("\n") == 1, err
    assert sorted(p.name for p in folder.rglob("*")) == before


def test_ctrl_c_leaves_nothing(run, folder, monkeypatch):
    def interrupted(self, frames):
        yield next(frames)
        raise KeyboardInterrupt

    monkeypatch.setattr(Film, "watching", interrupted)
    before = sorted(p.name for p in folder.rglob("*"))
    code, _, err = run("ed.nii.gz", "es.nii.gz", "--report", folder / "r.png")
    assert code == 130 and "interrupted" in err
    assert sorted(p.name for p in folder.rglob("*")) == before


@pytest.mark.parametrize("out", ["out.nii.gz", "frames"])
def test_a_report_that_fails_leaves_what_was_there(run, folder, monkeypatch, out):
    def full(*_):
        raise OSError(28, "No space left on device")

    wanted = ["ed.nii.gz", "es.nii.gz", "--report", folder / "r.png", "--overwrite"]
    if out == "out.nii.gz":  # a folder is never replaced
        assert run(*wanted, out=out)[0] == 0
    monkeypatch.setitem(WRITERS, ".png", full)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    code, said, err = run(*wanted, out=out, frames=6)
    assert code == 2 and said == "" and "r.png: cannot be written (No space left" in err
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert not (folder / "frames").exists()


# --- the report -----------------------------------------------------------------------------------


@pytest.fixture
def film():
    film = Film(TIMES, (True, False, False, True))
    assert [frame for frame in film.watching(iter(beat()))]
    return film


def test_a_montage_shows_every_frame_with_its_label(film, tmp_path):
    film.write(tmp_path / "m.png")
    picture = Image.open(tmp_path / "m.png").convert("RGB")
    assert (
        picture.width == 4 * cine_report.MONTAGE_SIDE and "SYNTHETIC" in picture.info["Description"]
    )
    apart = np.abs(np.asarray(picture, dtype=int) - cine_report.GOLD).max(axis=-1)
    golden = (apart < 60).any(axis=0)  # letters have soft edges
    per_tile = golden.reshape(4, -1).any(axis=1)
    assert per_tile.tolist() == [False, True, True, False]


def test_mp4_needs_a_package_and_says_so(run, folder, monkeypatch):
    monkeypatch.setattr(cine_report, "_has_ffmpeg", lambda: False)
    code, _, err = run("ed.nii.gz", "es.nii.gz", "--report", folder / "r.mp4")
    assert code == 2 and "needs imageio-ffmpeg" in err and not (folder / "out.nii.gz").exists()


def test_a_thousand_frames_need_the_memory_of_a_few(tmp_path):
    import tracemalloc

    frames = 1000
    record = Provenance("mstg", "m", "1.0.0", "5" * 64, "ED + ES", "cine", "b", "6" * 64, 0, 1, 1,
                        "none", "torch", "cpu", times_ms=tuple(map(float, range(frames))),
                        acquired=(1,))  # fmt: skip
    one = heart(4, shape=(40, 36, 8))
    for name in ("x.nii", "x.seq.nrrd"):
        tracemalloc.start()
        write_cine((one for _ in range(frames)), tmp_path / name, record)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.25 * frames * one.array.nbytes
        (tmp_path / name).unlink()
        (tmp_path / name.replace("nii", "json").replace("nrrd", "json")).unlink()
