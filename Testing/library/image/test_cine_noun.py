"""The noun Cine, its phases, and where synthetic frames go in time."""

import numpy as np
import pytest

from MambaSynthLib.cine.phases import choose_phases, seems_swapped
from MambaSynthLib.cine.timeline import between_all, between_phases
from MambaSynthLib.errors import RequestError, VolumeError
from MambaSynthLib.image.cine import Cine, of_frames
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.phantom.heart import BEAT_MS, computed_heart, contraction
from Testing.library.cine_hearts import beat, heart

TIMES = (0.0, 100.0, 250.0, 400.0)


@pytest.fixture
def cine():
    """Contracts from frame 1 to 3 and relaxes to 4."""
    return Cine(beat(), TIMES, "beat.nii.gz")


@pytest.mark.parametrize(
    ("times", "said"),
    [((0, 100, 100, 200), "frame 3 is at 100 ms"), ((0, 1, 2), "3 trigger times"),
     ((0, 1, 2, np.nan), "no finite number"), ((5, 4, 3, 2), "sort the frames")],
)  # fmt: skip
def test_times_must_be_as_many_as_frames_and_grow(times, said):
    with pytest.raises(VolumeError, match=said):
        Cine(beat(), times)


@pytest.mark.parametrize("count", [0, 1])
def test_one_frame_is_no_cine(count):
    with pytest.raises(VolumeError, match=f"has {count} frame.*needs two"):
        Cine(beat()[:count], TIMES[:count])


def test_frames_on_other_grids_are_refused_and_named():
    first, second, *_ = beat()
    moved = Volume(second.array, second.affine + ([[0, 0, 0, 0.01]] * 3 + [[0] * 4]))
    with pytest.raises(VolumeError, match="frame 2 and frame 1 lie up to 0.01732 mm apart"):
        Cine((first, moved), (0, 1))
    with pytest.raises(VolumeError, match=r"frame 2 has \(20, 18, 3\) voxels"):
        Cine((first, heart(4, shape=(20, 18, 3))), (0, 1))


def test_two_volumes_are_ed_and_es_with_assumed_times_that_are_told():
    cine = of_frames(beat()[:2])
    assert cine.times_ms == (0, 300) and cine.phases[:2] == (0, 1)
    assert any("times assumed: 300 ms" in note for note in cine.notes)
    assert of_frames(beat()[:2], (0, 348)).notes == ()


# --- phases ---------------------------------------------------------------------------------------


def test_phases_are_found_by_the_blood_pool(cine):
    phases = choose_phases(cine)
    assert (phases.ed, phases.es) == (0, 2) and "blood pool" in phases.rule
    turned = Cine((*cine.frames[2:], *cine.frames[:2]), TIMES)
    assert (choose_phases(turned).ed, choose_phases(turned).es) == (2, 0)


def test_where_blood_cannot_be_told_the_largest_difference_counts():
    frames = []  # something jumps from one place to another, but does not contract
    for place, brightness in ((2, 10), (2, 9), (7, 10), (7, 9)):
        array = np.zeros((12, 12, 3))
        array[place : place + 3, 4:8] = brightness
        frames.append(Volume(array, np.eye(4)))
    phases = choose_phases(Cine(tuple(frames), TIMES))
    assert (phases.ed, phases.es) == (0, 2) and "largest difference from frame 1" in phases.rule


@pytest.mark.parametrize("frames", [8, 10, 25])
def test_of_frames_whose_border_is_all_muscle_the_most_contracted_is_es(frames):
    cine = computed_heart(frames)
    contracted = [contraction(time / BEAT_MS) for time in cine.times_ms]
    phases = choose_phases(cine)
    assert (phases.ed, phases.es) == (0, int(np.argmax(contracted)))


def test_the_user_counts_frames_from_one_and_has_the_last_word(cine):
    assert choose_phases(cine, 2, 4).rule == "given by the user"
    one = choose_phases(cine, ed=4)
    assert (one.ed, one.es) == (3, 2) and "one given by the user" in one.rule
    same = choose_phases(cine, es=1)  # the found ED: another ED is looked for
    assert same.es == 0 and same.ed == 2 and "largest difference" in same.rule
    for numbers, said in (((0, 1), "frame 0 is not in"), ((5, 1), "1 to 4"), ((2, 2), "both")):
        with pytest.raises(RequestError, match=said):
            choose_phases(cine, *numbers)


def test_equal_frames_have_no_phases_to_find():
    with pytest.raises(VolumeError, match="all frames are equal.*--ed"):
        choose_phases(Cine((heart(4),) * 3, (0, 1, 2)))


def test_swapped_phases_are_noticed_but_not_those_in_order():
    assert seems_swapped(heart(3), heart(5)) and not seems_swapped(heart(5), heart(3))
    assert not seems_swapped(heart(5), heart(5))


# --- time -----------------------------------------------------------------------------------------


def test_all_acquired_frames_are_kept_and_gaps_are_filled_evenly(cine):
    timeline = between_all(cine, 9, choose_phases(cine))
    assert timeline.times_ms == (0, 50, 100, 150, 200, 250, 300, 350, 400)
    kept = [n for n, frame in enumerate(timeline.acquired) if frame is not None]
    assert [timeline.times_ms[n] for n in kept] == list(TIMES) and timeline.synthetic == 5


@pytest.mark.parametrize("count", [4, 5, 6, 17, 30, 1000])
def test_there_are_as_many_frames_as_asked_for_in_growing_time(cine, count):
    timeline = between_all(cine, count, choose_phases(cine))
    assert len(timeline.times_ms) == len(timeline.acquired) == count
    assert np.all(np.diff(timeline.times_ms) > 0)
    assert [f for f in timeline.acquired if f is not None] == [0, 1, 2, 3]
    assert sum(len(interval.fractions) for interval in timeline.intervals) == count - 4


def test_in_diastole_the_network_sees_the_pair_the_other_way_round(cine):
    systole, late, diastole = between_all(cine, 9, choose_phases(cine)).intervals
    assert (systole.ed, systole.es, systole.backwards) == (0, 1, False)
    assert (late.ed, late.es) == (1, 2)
    assert (diastole.ed, diastole.es, diastole.backwards) == (3, 2, True)
    assert (diastole.first, diastole.last) == (2, 3)


@pytest.mark.parametrize("count", [-1, 0, 3, 10_001])
def test_fewer_frames_than_acquired_or_absurdly_many_are_refused(cine, count):
    with pytest.raises(RequestError, match=f"frames is {count}.*give 4 to 10000"):
        between_all(cine, count, choose_phases(cine))


def test_from_ed_to_es_only_two_frames_are_acquired_and_the_cycle_wraps(cine):
    timeline = between_phases(cine, 5, choose_phases(cine))
    np.testing.assert_allclose(timeline.times_ms, [0, 62.5, 125, 187.5, 250])
    assert timeline.acquired == (0, None, None, None, 2)
    wrapped = between_phases(cine, 3, choose_phases(cine, 3, 2))
    np.testing.assert_allclose(wrapped.times_ms, [250, (250 + 100 + cine.period_ms) / 2,
                                                  100 + cine.period_ms])  # fmt: skip
