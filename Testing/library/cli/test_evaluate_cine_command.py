"""``mambasynth evaluate-cine``: a table, a CSV and JSON of the same numbers, or one sentence."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from MambaSynthLib.cli import main
from MambaSynthLib.io.cine_writing import write_cine
from MambaSynthLib.io.files import write_volume
from Testing.library.cine_hearts import heart, random_package
from Testing.provenance_records import CINE_RECORD

QUICK = ["--refine-steps", "20", "--rivals", "no motion,linear blend"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    random_package(folder / "tiny-cine")
    (folder / "beat").mkdir()
    for number, radius in enumerate((5.0, 4.6, 4.0, 3.4, 3.0), start=1):
        write_volume(heart(radius, "beat"), folder / "beat" / f"{number}.nii.gz")
    return folder


@pytest.fixture
def run(place, capsys):
    def run(*arguments):
        capsys.readouterr()
        model = ["--model", str(place / "tiny-cine")]
        try:
            code = main(["evaluate-cine", *map(str, arguments), *model])
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_cine_becomes_a_table_a_csv_and_json(run, place, tmp_path):
    code, out, _ = run(place / "beat", "--ed", 1, "--es", 5, *QUICK, "-o", tmp_path / "scores")
    assert code == 0
    assert [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("| ")] == [
        "method", "no motion", "linear blend", "MambaSynth",
    ]  # fmt: skip
    assert "3 left out" in out and "best moving PSNR" in out
    rows = list(csv.DictReader((tmp_path / "scores/scores.csv").open()))
    assert len(rows) == 9 and {row["frame"] for row in rows} == {"2", "3", "4"}
    (cine,) = json.loads((tmp_path / "scores/scores.json").read_text())["cines"]
    assert cine["given"] == [1, 5] and cine["means"]["no motion"]["left"] == pytest.approx(1)


def test_two_cines_have_a_mean(run, place):
    code, out, _ = run(place / "beat", place / "beat", "--keep", 2, "--no-best-in-time", *QUICK)
    assert code == 0 and "Mean of 2 cines" in out and "every 2 given" in out


def test_several_cines_and_what_is_kept_of_them_stand_in_one_table(run, place):
    code, out, _ = run(place / "beat", place / "beat", "--keep", "2,ed-es", "--ed", 1, "--es",
                       "5,4", "--no-best-in-time", *QUICK)  # fmt: skip
    assert code == 0 and out.count("Mean of 2 cines") == 2
    together = out.partition("All side by side:")[2]
    rows = [[cell.strip() for cell in line.split("|")[1:5]] for line in together.splitlines()
            if line.startswith("| beat")]  # fmt: skip
    assert [row[1] for row in rows] == ["every 2"] * 6 + ["ED and ES"] * 6
    assert {row[0] for row in rows} == {"beat"} and float(rows[0][2]) > 30  # dB, no noise
    assert "(frames 1, 5)" in out and "(frames 1, 4)" in out


def test_a_film_shows_the_acquired_cine_beside_the_one_made(run, place, tmp_path):
    films = tmp_path / "films"
    code, out, _ = run(place / "beat", "--keep", 2, "--no-best-in-time", "--film", films, *QUICK)
    assert code == 0 and f"wrote {films / 'beat-every-2.gif'}" in out
    film = Image.open(films / "beat-every-2.gif")
    assert film.n_frames == 5 and b"SYNTHETIC" in film.info["comment"]
    acquired, made = [], []
    for number in range(5):
        film.seek(number)
        picture = np.asarray(film.convert("L"), dtype=float)
        half = picture.shape[1] // 2
        acquired.append(picture[:-40, : half - 6])
        made.append(picture[:-40, half + 6 :])
    apart = [np.abs(a[:, : b.shape[1]] - b[:, : a.shape[1]]).mean()
             for a, b in zip(acquired, made, strict=True)]  # fmt: skip
    assert max(apart[0], apart[2], apart[4]) < 5 < np.abs(acquired[4] - acquired[0]).mean()
    code, _, err = run(place / "beat", "--keep", 2, "--film", films, *QUICK)
    assert code == 2 and "exists already; choose another folder" in err


def test_films_of_one_name_are_refused_before_anything_is_computed(run, place, tmp_path):
    code, _, err = run(place / "beat", place / "beat", "--film", tmp_path, "--keep", 2, *QUICK)
    assert code == 2 and "two films would be called beat-every-2.gif" in err
    assert not list(tmp_path.iterdir())


def test_json_on_stdout(run, place):
    code, out, _ = run(place / "beat", "--keep", 2, "--no-best-in-time", "--json", *QUICK)
    assert code == 0 and json.loads(out)["cines"][0]["keep"] == "every 2"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--keep", "some"], "--keep some: is neither ed-es nor a whole number"),
     (["--keep", "5"], "give ed-es, or a number from 2 to 4"),
     (["--rivals", "magic"], "--rivals magic: is unknown; known are no motion"),
     (["--ed", "1", "--es", "2"], "no acquired frame lies between"),
     (["--refine-steps", "3"], "refine-steps is 3; give 10 to 1000"),
     (["--timing", "lunar"], "lunar: is neither linear nor cardiac"),
     (["--masks", "none.nii.gz"], "none.nii.gz"),
     (["--ed", "9"], "frame 9 is not in"),
     (["--es", "3,4"], "--es 3,4: is neither one frame number nor one for each of 1 cines"),
     (["--es", "last"], "--es last: is neither one frame number"),
     (["--keep", "2,"], "--keep : is neither"),
     (["--film", __file__], "is no folder to write to")],
)  # fmt: skip
def test_bad_input_is_one_sentence_with_the_remedy(run, place, arguments, said):
    code, out, err = run(place / "beat", *arguments)
    assert code == 2 and said in err and err.count("\n") == 1 and not out


def test_two_frames_leave_nothing_to_compare(run, place, tmp_path):
    (tmp_path / "pair").mkdir()
    for number in (1, 2):
        write_volume(heart(5 - number), tmp_path / "pair" / f"{number}.nii.gz")
    code, _, err = run(tmp_path / "pair")
    assert code == 2 and "has 2 frames; to leave one out" in err


def test_synthetic_frames_are_no_reference(run, tmp_path):
    record = replace(CINE_RECORD, times_ms=(0.0, 100.0, 200.0, 300.0), acquired=(1, 4))
    frames = (heart(5 - number / 4) for number in range(4))
    write_cine(frames, tmp_path / "made.nii.gz", record)
    code, _, err = run(tmp_path / "made.nii.gz")
    assert code == 2 and "synthetic" in err and "use an acquired cine." in err


def test_scores_are_not_overwritten_unasked(run, place, tmp_path):
    (tmp_path / "scores.csv").write_text("mine")
    code, _, err = run(place / "beat", "-o", tmp_path, *QUICK)
    assert code == 2 and "exists already" in err and "--overwrite" in err
    assert (tmp_path / "scores.csv").read_text() == "mine"


def test_other_masks_are_refused(run, place, tmp_path):
    (tmp_path / "masks").mkdir()
    for number in range(1, 4):
        write_volume(heart(number), tmp_path / "masks" / f"{number}.nii.gz")
    code, _, err = run(place / "beat", "--masks", tmp_path / "masks")
    assert code == 2 and "has 3 frames, but beat has 5" in err
