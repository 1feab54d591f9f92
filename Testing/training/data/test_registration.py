"""Registration finds an offset that was put in; bias is divided out; axes turn without a change."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_heads import head
from scipy.spatial.transform import Rotation

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_volume
from MambaSynthTraining.data.n4 import remove_bias
from MambaSynthTraining.data.orientation import orient, same_grid
from MambaSynthTraining.data.registration import register


def offset(degrees, millimeters):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = millimeters
    return matrix


def worst_error(found, truth, volume):
    """The largest distance in mm between two maps over the tissue."""
    inside = np.argwhere(volume.array > 0.2 * volume.array.max())[::50]
    points = np.column_stack([inside, np.ones(len(inside))]) @ volume.affine.T
    return np.linalg.norm((points @ (found - truth).T)[:, :3], axis=1).max()


def test_turning_the_axes_keeps_every_voxel_in_its_place():
    volume = head("T1w")
    turned = orient(volume, "PIR")
    assert turned.axis_codes == "PIR" and turned.shape == (40, 32, 48)
    index = np.argwhere(turned.array == volume.array[20, 11, 7])[0]
    place = turned.affine @ [*index, 1]
    np.testing.assert_allclose(place, volume.affine @ [20, 11, 7, 1])
    back = orient(turned, volume.axis_codes)
    np.testing.assert_array_equal(back.array, volume.array)
    assert same_grid(back, volume) and not same_grid(turned, volume)


def test_rigid_registration_recovers_a_known_offset_across_contrasts_and_axis_orders():
    fixed, moving = head("T1w"), head("T2w")
    truth = offset((4, -3, 6), (9, -7, 5))
    moved = orient(Volume(moving.array, truth @ moving.affine, "T2w"), "PIR")
    found = register(fixed, moved)
    assert worst_error(np.eye(4), truth, fixed) > 10
    assert worst_error(found.matrix, truth, fixed) < 0.25 * 4  # a quarter of a voxel
    assert found.metric < found.metric_before - 0.05
    resampled = found.apply(moved, fixed)
    assert same_grid(resampled, fixed) and resampled.array.min() >= moved.array.min()
    inside = fixed.array > 100
    assert np.corrcoef(resampled.array[inside], moving.array[inside])[0, 1] > 0.95
    again = register(fixed, moved)
    np.testing.assert_array_equal(again.matrix, found.matrix)


@pytest.mark.slow
def test_affine_registration_recovers_a_known_scale():
    fixed, moving = head("T1w"), head("T2w")
    truth = offset((2, -1, 3), (4, -3, 2)) @ np.diag([1.04, 0.97, 1.02, 1])
    moved = Volume(moving.array, truth @ moving.affine, "T2w")
    rigid, affine = (register(fixed, moved, kind) for kind in ("rigid", "affine"))
    errors = [worst_error(found.matrix, truth, fixed) for found in (rigid, affine)]
    assert errors[1] < 2.5 and errors[1] < 0.7 * errors[0]


def test_volumes_that_lie_far_apart_are_brought_together():
    fixed, moving = head("T1w"), head("T2w")
    truth = offset((0, 0, 0), (900, 0, 0))
    found = register(fixed, Volume(moving.array, truth @ moving.affine, "far away"))
    assert worst_error(found.matrix, truth, fixed) < 1
    assert np.isinf(found.metric_before) or found.metric_before > found.metric


def test_volumes_without_content_are_refused_by_name():
    fixed = head("T1w")
    with pytest.raises(VolumeError, match="blank: cannot be registered to T1w"):
        register(fixed, Volume(np.zeros(fixed.shape), fixed.affine, "blank"))


def test_n4_divides_a_smooth_bias_out():
    flat = head("T1w", stripped=True, noise=1)
    flat = Volume(flat.array[::2, ::2, ::2], flat.affine @ np.diag([2, 2, 2, 1.0]))
    ramp = np.exp(0.5 * np.linspace(-1, 1, flat.shape[0]))[:, None, None]
    corrected = remove_bias(flat.with_array(flat.array * ramp))
    inside = flat.array > 100

    def unevenness(volume):
        return float(np.std(np.log(volume.array[inside] / flat.array[inside])))

    assert unevenness(corrected) < 0.35 * unevenness(flat.with_array(flat.array * ramp))
    assert np.all(corrected.array[~(flat.array > 0)] == 0)


@pytest.mark.slow
def test_a_clinical_pair_on_different_grids_agrees_with_the_registration_it_came_with(shared):
    folder = shared / "data/brain_t1_t2/clinical_2d/patient01"
    if not folder.is_dir():
        pytest.skip("the clinical pair is not in ../shared")
    t1w, t2w = (read_volume(folder / f"study1_{name}.nii.gz") for name in ("T1W", "T2W"))
    t1w, t2w = (Volume(v.array[::4, ::4], v.affine @ np.diag([4, 4, 1, 1.0])) for v in (t1w, t2w))
    to_flair = [
        insight_affine(folder / f"study1_{name}_intrastudy_to_FLAIR.txt") for name in ("T1W", "T2W")
    ]
    given = to_flair[1] @ np.linalg.inv(to_flair[0])
    found = register(t1w, t2w)
    assert worst_error(found.matrix, given, t1w) < 2.5  # mm; slices are 3 and 4 mm thick
    assert found.metric < found.metric_before


def insight_affine(path):
    """(4,4) in RAS of an ITK text transform, which is in LPS."""
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    numbers, center = (
        np.array(lines[key].split(), float) for key in ("Parameters", "FixedParameters")
    )
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    matrix[:3, 3] = numbers[9:] + center - matrix[:3, :3] @ center
    flip = np.diag([-1, -1, 1, 1])
    return flip @ matrix @ flip
