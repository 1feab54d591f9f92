"""Where the mark goes and where it is asked for: engines, commands, the input gate, ``verify``."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from MambaSynthLib.batch.existing import Settings, existing_result
from MambaSynthLib.cine.engine import CineEngine
from MambaSynthLib.cine.options import CineOptions
from MambaSynthLib.cine.upsampling import plan, solve, upsample
from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import RefusedInput, RequestError
from MambaSynthLib.gate.admission import admit, admit_cine
from MambaSynthLib.image.cine import of_frames
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.cine_writing import write_cine
from MambaSynthLib.io.files import read_marks, write_volume
from MambaSynthLib.watermark.detection import find_mark, find_mark_of_frames
from MambaSynthLib.watermark.embedding import with_mark
from MambaSynthLib.watermark.marking import OFF, TOO_SMALL, words_of
from Testing.analytic_heads import analytic_head
from Testing.library.cine_hearts import random_package
from Testing.library.cli.command_line import called
from Testing.provenance_records import CINE_RECORD

MODEL = "cravim-head-t1w-t2w"


@pytest.fixture(scope="module")
def acquired():
    return analytic_head()["T1w"]


@pytest.fixture(scope="module")
def marked(acquired):
    return with_mark(acquired, MODEL)


def heart(radius, seed):
    """A textured disk that breathes, 64 x 64 x 4 voxels."""
    i, j, _ = np.indices((64, 64, 4)) - 32.0
    texture = np.random.default_rng(seed).standard_normal((64, 64, 4))
    texture = ndimage.gaussian_filter(texture, (0.9, 0.9, 0.3))
    array = np.where(i**2 + j**2 < radius**2, 200, 80) + 12 * texture / texture.std()
    return Volume(array, np.diag([2.0, 2, 8, 1]), "beat")


# --- engines --------------------------------------------------------------------------------------


def test_the_engine_marks_what_it_makes_and_says_so_in_its_record(tiny_package):
    engine = Engine(tiny_package, "cpu")
    i, j, k = np.indices((64, 64, 3))
    source = Volume(100.0 + i + j + k, np.diag([0.5, 0.5, 2, 1]), "x")
    plain = engine.synthesize({"T1w": source}, steps=1, pixel_mark=False)
    made = engine.synthesize({"T1w": source}, steps=1)
    assert plain.provenance.pixel_mark == OFF
    assert made.provenance.pixel_mark.startswith(words_of("tiny-t1w-t2w"))
    expected = with_mark(plain.volumes["T2w"], "tiny-t1w-t2w").array
    assert np.array_equal(made.volumes["T2w"].array, expected)
    assert not np.array_equal(expected, plain.volumes["T2w"].array)


def test_the_record_of_a_map_says_that_it_has_none(tiny_package, head):
    made = Engine(tiny_package, "cpu").synthesize({"T1w": head}, steps=1, samples=2)
    assert made.provenance.pixel_mark == TOO_SMALL
    assert made.record_of("T2w").of_spread().pixel_mark == "none: a map is no image"


def test_synthetic_frames_of_a_cine_are_marked_and_acquired_ones_keep_their_voxels(tmp_path):
    engine = CineEngine(random_package(tmp_path / "tiny-cine"), "cpu")
    cine = of_frames([heart(20, 0), heart(14, 1)])
    timeline = plan(cine, 5)

    def frames(**options):
        return list(upsample(solve(engine, cine, timeline, CineOptions(refine=False, **options))))

    plain, made = frames(pixel_mark=False), frames()
    for number, (before, after) in enumerate(zip(plain, made, strict=True)):
        same = np.array_equal(before.array, after.array)
        assert same == (timeline.acquired[number] is not None)
        if not same:
            assert np.array_equal(after.array, with_mark(before, engine.card.id).array)
    by_hand = engine.synthesize(*cine.frames, [0.0, 0.5, 1.0], options=CineOptions(refine=False))
    assert np.array_equal(by_hand.frames[1].array, made[2].array)
    assert np.array_equal(by_hand.frames[2].array, cine.frames[1].array)
    assert by_hand.provenance.pixel_mark == f"{words_of('tiny-cine')}, in synthetic frames"


# --- commands -------------------------------------------------------------------------------------


def test_the_switch_is_recorded_in_the_sidecar(tiny_package, acquired, tmp_path, capsys):
    source = tmp_path / "sub_T1w.nii.gz"
    write_volume(acquired, source)

    def record(*options):
        out = tmp_path / f"out{len(options)}.nii.gz"
        words = ["--to", "T2w", "--steps", 1, "--slices", "20:22", "--model", tiny_package.folder]
        assert called(capsys, "synthesize", source, *words, "-o", out, *options)[0] == 0
        assert read_marks(out).provenance.pixel_mark is not None
        return json.loads(out.with_name(out.name.replace(".nii.gz", ".json")).read_text())

    assert record()["PixelMark"].startswith(words_of("tiny-t1w-t2w"))
    assert record("--no-pixel-mark")["PixelMark"] == OFF


def test_a_result_with_the_mark_is_not_finished_for_who_wants_it_without(
    tiny_package, head, tmp_path
):
    made = Engine(tiny_package, "cpu").synthesize({"T1w": head}, steps=1)
    out = tmp_path / "out.nii.gz"
    write_volume(made.volumes["T2w"], out, provenance=made.record_of("T2w"))
    settings = Settings(1, 1)
    assert existing_result(out, head, tiny_package, settings).kind == "finished"
    other = existing_result(out, head, tiny_package, replace(settings, pixel_mark=False))
    assert other.kind == "made otherwise" and "with a mark in its voxels" in other.reason


def verified(capsys, path):
    code, said, _ = called(capsys, "verify", path, "--json")
    return code, json.loads(said)


def test_verify_finds_a_volume_that_has_nothing_but_its_voxels(marked, acquired, tmp_path, capsys):
    write_volume(marked, tmp_path / "renamed.nii.gz")
    write_volume(acquired, tmp_path / "acquired.nii.gz")
    code, record = verified(capsys, tmp_path / "renamed.nii.gz")
    assert code == 0 and record["synthetic"] is True
    assert record["pixel_mark"]["model"] == MODEL and record["pixel_mark"]["score"] > 7.6
    said = called(capsys, "verify", tmp_path / "renamed.nii.gz")[1]
    assert f"SYNTHETIC by MambaSynth, {MODEL}: a mark in the voxels" in said
    code, record = verified(capsys, tmp_path / "acquired.nii.gz")
    assert code == 3 and record["synthetic"] is None and record["pixel_mark"] is None


def test_verify_finds_a_slice_that_was_saved_as_a_picture(marked, tmp_path, capsys):
    image = marked.array[..., marked.shape[2] // 2]
    gray = (255 * image / image.max()).round().astype(np.uint8)
    Image.fromarray(gray).save(tmp_path / "slice.png")
    assert verified(capsys, tmp_path / "slice.png")[1]["pixel_mark"]["model"] == MODEL


def test_verify_finds_a_cine_by_its_frames(tmp_path, capsys):
    frames = [with_mark(heart(20 - n, n), "mstg-cine-compact") for n in range(3)]
    write_cine(iter(frames), tmp_path / "beat.nii.gz", replace(CINE_RECORD, times_ms=(0, 9, 18)))
    (tmp_path / "beat.json").unlink()
    code, record = verified(capsys, tmp_path / "beat.nii.gz")
    assert code == 0 and record["pixel_mark"]["model"] == "mstg-cine-compact"


# --- the input gate -------------------------------------------------------------------------------


def test_a_source_that_is_synthetic_by_its_voxels_is_refused(marked):
    with pytest.raises(RefusedInput, match="is synthetic already .*; use an acquired image, or x"):
        admit(marked, "T1w", insist="x")
    with pytest.raises(RefusedInput, match="use an acquired image.$"):
        admit(marked, "T1w")


@pytest.mark.parametrize("allowed", ["synthetic", "forced"])
def test_who_allows_it_gets_it_with_a_note(marked, allowed):
    admitted = admit(marked, "T1w", **{allowed: True})
    assert any(note.startswith("synthetic source: is synthetic already") for note in admitted.notes)


def test_a_cine_with_synthetic_frames_is_refused_or_let_in_with_a_note():
    frames = [heart(20, 0), *(with_mark(heart(20 - n, n), MODEL) for n in range(1, 5))]
    frames.append(heart(14, 5))
    assert find_mark_of_frames(frames) and not find_mark(frames[0])
    cine = of_frames(frames)
    with pytest.raises(RequestError, match="holds synthetic frames already .*, or y"):
        admit_cine(cine, insist="y")
    assert "synthetic source" in admit_cine(cine, synthetic=True).notes[-1]
    acquired = of_frames([frames[0], frames[-1]])
    assert admit_cine(acquired) is acquired
