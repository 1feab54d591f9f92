"""Preparation and engine for cine: exact ends, exact grids, motion in the right place, refusals."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from MambaSynthLib.backends import choose_backend
from MambaSynthLib.cine import engine as cine_engine
from MambaSynthLib.cine.cine_record import provenance_of
from MambaSynthLib.cine.engine import CineEngine
from MambaSynthLib.cine.network_frames import _beyond_motion
from MambaSynthLib.cine.options import CineOptions
from MambaSynthLib.cine.preparation import prepare_cine, short_axis
from MambaSynthLib.cine.upsampling import plan, solve, upsample
from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import Cancelled, ModelError, RequestError, VolumeError
from MambaSynthLib.image.cine import Cine
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.model.card import CineCard, CineGridSpec
from MambaSynthLib.model.package import read_package
from MambaSynthLib.model.registry import cine_model, list_models, model_for
from MambaSynthLib.provenance import Provenance
from MambaSynthLib.server.exchange import load_volume, save_volume
from MambaSynthLib.server.server import Server
from Testing.library.cine_hearts import (
    NETWORK,
    Painting,
    Shifting,
    beat,
    heart,
    oblique,
    random_package,
)

OWN_VOXELS = CineGridSpec("LPS", None, (16, 32, 32))
COARSER = CineGridSpec("LPS", (4.0, 4.0, 8.0), (16, 16, 16))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return random_package(tmp_path_factory.mktemp("models") / "tiny-cine")


@pytest.fixture(scope="module")
def real(package):
    return CineEngine(package, "cpu")


@pytest.fixture
def engine_with(package, monkeypatch):
    """engine_with(network, grid) -> an engine whose network does what is known."""

    def make(network, grid=OWN_VOXELS):
        runtime = SimpleNamespace(
            NAME="known", choose_device=lambda wanted: "cpu", load_network=lambda *_: network
        )
        monkeypatch.setattr(cine_engine, "choose_backend", lambda *_: runtime)
        engine = CineEngine(package)
        engine.card = replace(engine.card, grid=grid)
        return engine

    return make


ED, ES = heart(5, "ED"), heart(3, "ES")
ALONE = CineOptions(refine=False)


# --- preparation ----------------------------------------------------------------------------------


def test_the_slices_of_an_oblique_stack_are_found_by_their_distance():
    affine = oblique()
    step = short_axis(affine, "LPS")
    assert step.order[0] == 2
    shuffled = affine[:, [2, 0, 1, 3]]
    assert short_axis(shuffled, "LPS").order[0] == 0


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
def test_the_network_sees_one_heart_however_it_is_stored(order, flips):
    whole = prepare_cine(ED, ES, COARSER).to_network(ED)

    def stored(volume):
        array = np.flip(volume.array.transpose(order), flips)
        affine = volume.affine[:, [*order, 3]].copy()
        for axis in flips:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
        return Volume(array, affine, volume.name)

    turned = prepare_cine(stored(ED), stored(ES), COARSER)
    np.testing.assert_allclose(turned.to_network(stored(ED)), whole, atol=1e-6)


def test_the_lowest_voxel_of_both_is_zero_and_the_highest_one():
    prepared = prepare_cine(ED, ES, OWN_VOXELS)
    seen = [prepared.to_network(volume) for volume in (ED, ES)]
    assert min(part.min() for part in seen) == 0 and max(part.max() for part in seen) == 1
    np.testing.assert_allclose(
        prepared.from_network(seen[0]) * prepared.intensity_range + prepared.low,
        ED.array,
        rtol=1e-5,
    )


def test_a_field_moves_the_voxels_of_the_source_by_its_millimeters():
    ramp = np.broadcast_to(np.arange(20.0)[:, None, None], (20, 18, 4))
    volume = Volume(ramp, np.diag([2.0, 2, 8, 1]), "ramp")
    prepared = prepare_cine(volume, volume.with_array(ramp[::-1]), COARSER)
    field = np.zeros((3, 16, 16, 16), np.float32)
    field[2] = 1.5  # canvas columns of 4 mm, growing to the left: 6 mm to the left, 3 voxels
    moved = prepared.moved(volume, field)
    np.testing.assert_allclose(moved[4:-4], ramp[4:-4] - 3, atol=1e-4)
    along = prepared.field_of_source(field)
    np.testing.assert_allclose(along[0], -3, atol=1e-5)
    assert not along[1:].any()


def test_no_motion_leaves_every_bit():
    prepared = prepare_cine(ED, ES, COARSER)
    assert np.array_equal(prepared.moved(ED, np.zeros((3, 16, 16, 16), np.float32)), ED.array)


def test_a_large_image_is_cut_where_the_heart_beats():
    small = CineGridSpec("LPS", None, (16, 8, 8))
    wide = [
        Volume(np.pad(v.array, ((60, 0), (0, 0), (0, 0)), mode="edge"), v.affine) for v in (ED, ES)
    ]
    prepared = prepare_cine(*wide, small)
    change = np.abs(prepared.to_network(wide[0]) - prepared.to_network(wide[1]))
    assert change.max() > 0.5 and prepared.slices_outside() == 0
    thin = CineGridSpec("LPS", None, (2, 8, 8))
    assert prepare_cine(*wide, thin).slices_outside() == 2


@pytest.mark.parametrize(
    ("array", "said"),
    [(np.full((20, 18, 4), 7), "constant"), (np.zeros((5, 18, 4)) + np.arange(4), "too small"),
     (np.where(np.arange(1440).reshape(20, 18, 4) == 7, np.nan, 1), "1 voxels are NaN")],
)  # fmt: skip
def test_what_shows_no_heart_is_refused(array, said):
    volume = Volume(array, oblique(), "bad.nii.gz")
    with pytest.raises(VolumeError, match=f"bad.nii.gz.*{said}"):
        prepare_cine(volume, volume, COARSER)


# --- engine ---------------------------------------------------------------------------------------


def test_the_ends_are_the_acquired_voxels_and_the_grid_is_the_sources(real):
    made = real.synthesize(ED, ES, [0, 0.5, 1], options=ALONE, with_fields=True)
    assert np.array_equal(made.frames[0].array, ED.array)
    assert np.array_equal(made.frames[2].array, ES.array)
    assert all(np.array_equal(frame.affine, ED.affine) for frame in made.frames)
    assert not np.array_equal(made.frames[1].array, ED.array)
    assert made.fields.shape == (3, 3, *ED.shape) and not made.fields[0].any()


def test_equal_frames_give_equal_frames_and_a_warning(real):
    made = real.synthesize(ED, ED, [0, 0.3, 1], with_fields=True)
    assert all(np.array_equal(frame.array, ED.array) for frame in made.frames)
    assert not made.fields.any()
    assert any("identical" in warning for warning in made.provenance.warnings)


def test_the_heart_moves_as_far_as_the_network_says(engine_with):
    engine = engine_with(Shifting(4.0))
    (frame,) = engine.synthesize(ED, ES, [0.5], options=ALONE).frames
    axis = short_axis(ED.affine, "LPS").order[1]
    best = [
        np.abs(np.roll(ED.array, n, axis) - frame.array)[6:-6, 6:-6].mean() for n in range(-4, 5)
    ]
    assert abs(int(np.argmin(best)) - 4) == 2 and min(best) < 1e-3


def test_motion_is_computed_once_for_all_frames(engine_with):
    network = Shifting()
    engine_with(network).synthesize(ED, ES, np.linspace(0, 1, 12), options=ALONE)
    assert network.motions == 1


def test_a_method_without_motion_paints_frames_in_the_units_of_the_source(engine_with):
    (frame,) = engine_with(Painting()).synthesize(ED, ES, [0.25]).frames
    np.testing.assert_allclose(frame.array, 0.75 * ED.array + 0.25 * ES.array, rtol=1e-4)
    assert engine_with(Painting()).synthesize(ED, ES, [0.25], with_fields=True).fields is None


def test_beyond_the_field_of_view_frames_blend_and_the_user_is_told(engine_with):
    tall = [heart(radius, shape=(20, 18, 60)) for radius in (5, 3)]
    engine = engine_with(Shifting())
    made = engine.synthesize(*tall, [0.5], options=ALONE)
    assert any("44 of 60 slices" in warning for warning in made.provenance.warnings)
    mean = (tall[0].array + tall[1].array) / 2
    np.testing.assert_allclose(made.frames[0].array[..., 0], mean[..., 0], rtol=1e-5)


def test_swapped_phases_warn(real):
    assert any("swapped" in warning for warning in real.provenance(ES, ED).warnings)
    assert not any("swapped" in warning for warning in real.provenance(ED, ES).warnings)


@pytest.mark.parametrize("fraction", [-0.1, 1.01, float("nan")])
def test_phases_beyond_the_ends_are_refused(real, fraction):
    with pytest.raises(RequestError, match=r"not between ED \(0\) and ES \(1\)"):
        real.synthesize(ED, ES, [0.5, fraction])


def test_other_grids_are_refused(real):
    with pytest.raises(VolumeError, match=r"ES has \(20, 18, 3\) voxels, ED \(20, 18, 4\)"):
        real.synthesize(ED, heart(3, "ES", (20, 18, 3)), [0.5])


def test_cancel_is_heard_before_the_next_computation(engine_with):
    network = Shifting()
    engine = engine_with(network)
    with pytest.raises(Cancelled):
        engine.synthesize(ED, ES, [0.5], cancelled=lambda: True)
    assert network.motions == 0


def test_each_kind_of_model_is_used_by_its_own_engine_only(package, tiny_package, monkeypatch):
    with pytest.raises(ModelError, match="tiny-cine synthesizes ED . ES -> cine, no contrast"):
        Engine(package, "cpu")
    with pytest.raises(ModelError, match="no cine frames"):
        CineEngine(tiny_package, "cpu")
    monkeypatch.setenv("MAMBASYNTH_MODELS", str(package.folder.parent))
    assert cine_model().card.id == "tiny-cine"
    listed = [p.card.id for p in list_models("cine")]
    assert listed[0] == "tiny-cine" and tiny_package.card.id not in listed
    with pytest.raises(ModelError):
        model_for(None, "cine")


# --- the card -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "value"),
    [("source_contrasts", ["T1w"]), ("target_contrasts", ["T2w"]), ("network", {}),
     ("network", {"channels": [8, 8], "sneaky": True}),
     ("network", {"channels": [8, 8], "down": 1}), ("intensity", {"rule": "zscore"}),
     ("grid", {"axis_codes": "LPS", "spacing_mm": [1.5, 1.5], "size": [32, 128, 128]}),
     ("grid", {"axis_codes": "LPS", "in_plane_spacing_mm": 1.0, "size": [16, 16]}),
     ("sampling", {"timesteps": 2000, "beta_min": 0.5, "beta_max": 0.1})],
)  # fmt: skip
def test_a_cine_card_that_makes_no_sense_is_refused(package, tmp_path, part, value):
    content = json.loads((package.folder / "model.json").read_text()) | {part: value}
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=part):
        read_package(tmp_path)


def test_a_cine_card_is_parsed(package):
    card = package.card
    assert isinstance(card, CineCard) and card.task == "cine"
    assert card.grid == CineGridSpec("LPS", (2.0, 2.0, 8.0), (16, 16, 16))
    assert card.network == NETWORK and card.sampling.timesteps == 2000
    assert choose_backend("torch").load_network(package, "cpu").config.velocity


# --- many frames ----------------------------------------------------------------------------------


def test_a_denser_cine_keeps_every_acquired_frame_to_the_bit(engine_with):
    cine = Cine(beat(), (0, 100, 250, 400), "beat.nii.gz")
    engine = engine_with(Shifting(0.5))
    timeline = plan(cine, 11)
    solved = solve(engine, cine, timeline, ALONE)
    frames = list(upsample(solved))
    for frame, source in zip(frames, timeline.acquired, strict=True):
        if source is not None:
            assert np.array_equal(frame.array, cine.frames[source].array)
    record = provenance_of(solved)
    assert (record.device, record.precision) == ("cpu", "fp32")
    assert record.acquired == tuple(n + 1 for n, f in enumerate(timeline.acquired) if f is not None)
    assert record.times_ms == timeline.times_ms and "blood pool" in record.phases
    assert Provenance.from_bids(json.loads(json.dumps(record.to_bids()))) == record
    assert Provenance.from_tags(record.to_tags()) == record


def test_frames_come_one_by_one(engine_with):
    cine = Cine(beat()[:3], (0, 100, 250), "beat")
    frames = upsample(solve(engine_with(Shifting()), cine, plan(cine, 1000), ALONE))
    for _ in range(5):
        next(frames)
    frames.close()


# --- the child process ----------------------------------------------------------------------------


def served(requests, engine):
    events = []
    server = Server(lambda event, *_: events.append(event), None, list, lambda *_: engine)
    for request in requests:
        server._answer(request, [])
    return events


def test_the_child_process_returns_frames_with_their_times_and_marks(engine_with, tmp_path):
    files = [str(save_volume(v, tmp_path / f"{n}.npz")) for n, v in enumerate(beat())]
    request = {"do": "cine", "id": 7, "model": "m", "sources": files, "folder": str(tmp_path),
               "frames": 6, "times_ms": [0, 100, 250, 400], "refine": False}  # fmt: skip
    *before, done = served([request], engine_with(Shifting()))
    assert [event["event"] for event in before] == ["loading"] + ["progress"] * 7
    assert before[-1] == {"event": "progress", "id": 7, "done": 1000, "total": 1000}
    assert done["event"] == "done" and done["id"] == 7 and len(done["frames"]) == 6
    assert done["acquired"].count(None) == 2 and done["phases"]["ed"] == 1
    kept = done["acquired"].index(3)
    assert np.array_equal(load_volume(done["frames"][kept]).array, beat()[2].array)
    assert done["times_ms"][kept] == 250 and done["provenance"]["Synthetic"] is True
    json.dumps(done)


def test_the_child_process_says_in_one_sentence_what_it_refuses(engine_with, tmp_path):
    files = [str(save_volume(v, tmp_path / f"{n}.npz")) for n, v in enumerate(beat())]
    request = {"do": "cine", "id": 1, "model": "m", "folder": str(tmp_path), "frames": 2}
    engine = engine_with(Shifting())
    for sources, said in ((files, "frames is 2"), (files[:1], "1 frame"), ([], "0 frames")):
        (event,) = served([{**request, "sources": sources}], engine)[-1:]
        assert event["event"] == "failed" and said in event["message"] and not event["details"]


def test_what_was_changed_beyond_motion_shows_no_edge_where_the_field_leaves_the_canvas():
    ed = np.zeros((4, 6, 8), np.float32)
    field = np.zeros((3, 4, 6, 8), np.float32)
    field[2] = 3  # the last three columns look out of the canvas
    image = np.broadcast_to(np.arange(1.0, 9, dtype=np.float32), ed.shape)
    change = _beyond_motion(image, ed, field)
    assert np.array_equal(change[0, 0], [1, 2, 3, 4, 5, 5, 5, 5])
    assert _beyond_motion(image, ed, field + 20) is None
