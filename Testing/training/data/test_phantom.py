"""Phantom heads: physics against independent checks, geometry, and one real label map."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from MambaSynthLib.errors import FileError, RequestError, VolumeError
from MambaSynthLib.phantom.random_field import smooth_field
from MambaSynthLib.phantom.signal_equations import (
    CONTRASTS,
    draw_protocol,
    inversion_recovery,
    mprage,
    null_inversion_time,
    spin_echo,
    spoiled_gradient_echo,
)
from MambaSynthLib.phantom.tissues import (
    FIELDS_TESLA,
    INDEX,
    LESION_LABEL,
    TISSUES,
    draw_properties,
    mean_properties,
    tissue_indices,
)
from MambaSynthTraining.data.phantom import phantom_subject, read_label_map
from MambaSynthTraining.data.phantom_anatomy import add_fat, add_lesions
from MambaSynthTraining.data.phantom_config import PhantomConfig
from MambaSynthTraining.data.phantom_tissues import phantom_tissues

ROOT = Path(__file__).resolve().parents[3]
LABEL_MAPS = ROOT / "../shared/data/brain_labels/training_label_maps"
ONE_MM = np.ones(3)
STILL = PhantomConfig(
    flip=False, rotation_degrees=0, scaling=0, deformation_mm=0, lesions=False
)  # fmt: skip
CLEAN = replace(STILL, noise=0, bias=0, texture=0, blur_mm=(0.01, 0.01))
LIA = np.array([[-2.0, 0, 0, 50], [0, 0, 2, -60], [0, -2, 0, 40], [0, 0, 0, 1]])
SOME = np.array([[900.0], [70.0], [0.8]])


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    """(48,56,52) concentric shells; one ventricle off center, so that no mirror leaves it alone."""
    shape = (48, 56, 52)
    i, j, k = np.indices(shape)
    radius = np.sqrt((i - 24) ** 2 + ((j - 28) / 1.15) ** 2 + (k - 26) ** 2)
    labels = np.zeros(shape, dtype=np.int16)
    shells = ((22.5, 511), (21.5, 507), (18.5, 515), (16.5, 24), (14, 3), (11, 2), (4, 10))
    for outer, label in shells:
        labels[radius < outer] = label
    labels[(i - 30) ** 2 + (j - 30) ** 2 + (k - 28) ** 2 < 9] = 4
    return labels


def subject(head, seed=0, contrasts=("T1w", "T2w"), config=STILL):
    return phantom_subject(head, LIA, np.random.default_rng(seed), contrasts, config)


def world_center(mask, affine):
    return (affine @ [*np.argwhere(mask).mean(axis=0), 1])[:3]


# The signal equations


def test_spin_echo_shows_proton_density_for_long_tr_and_short_te():
    np.testing.assert_allclose(spin_echo(*SOME, tr=1e6, te=0), 0.8)
    np.testing.assert_allclose(spin_echo(*SOME, tr=1e-6, te=0), 0, atol=1e-8)
    np.testing.assert_allclose(spin_echo(*SOME, tr=1e6, te=70), 0.8 / np.e)


def test_gradient_echo_peaks_at_the_ernst_angle():
    flips = np.arange(1, 90)
    signals = [spoiled_gradient_echo(*SOME, tr=20, te=3, flip=f)[0] for f in flips]
    ernst = np.rad2deg(np.arccos(np.exp(-20 / 900)))
    assert flips[int(np.argmax(signals))] == pytest.approx(ernst, abs=0.5)


def test_gradient_echo_at_ninety_degrees_is_a_spin_echo_without_refocusing():
    np.testing.assert_allclose(
        spoiled_gradient_echo(*SOME, tr=500, te=10, flip=90), spin_echo(*SOME, tr=500, te=10)
    )


def test_inversion_recovery_nulls_fluid_at_t1_ln_2_for_long_tr():
    fluid = np.array([[4000.0], [1500.0], [1.0]])
    nulled = inversion_recovery(*fluid, tr=1e6, te=100, ti=4000 * np.log(2))
    np.testing.assert_allclose(nulled, 0, atol=1e-9)
    seen = inversion_recovery(*fluid, tr=1e6, te=0, ti=0)
    np.testing.assert_allclose(seen, 1)


def test_null_inversion_time_nulls_at_any_tr():
    for tr in (3000.0, 9000.0, 1e6):
        ti = null_inversion_time(4000.0, tr)
        signal = inversion_recovery(*np.array([4000.0, 1500, 1]), tr=tr, te=0, ti=ti)
        assert signal == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("t1", [350.0, 850.0, 1400.0, 4000.0])
def test_mprage_agrees_with_a_pulse_by_pulse_simulation(t1):
    tr, ti, flip, spacing, echoes = 2300.0, 900.0, 9.0, 7.0, 176

    def recover(m, wait):
        return m + (1 - m) * -np.expm1(-wait / t1)

    m = 1.0
    for _ in range(30):  # periods, until the start no longer matters
        m = recover(-m, ti - echoes * spacing / 2)
        for pulse in range(echoes):
            if pulse == echoes // 2:
                expected = 0.7 * abs(m) * np.sin(np.deg2rad(flip))
            m = recover(m * np.cos(np.deg2rad(flip)), spacing)
        m = recover(m, tr - ti - echoes * spacing / 2)
    signal = mprage(*np.array([t1, 70, 0.7]), tr=tr, te=0, ti=ti, flip=flip,
                    echo_spacing=spacing, echoes=echoes)  # fmt: skip
    assert signal == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("field_tesla", FIELDS_TESLA)
@pytest.mark.parametrize("seed", range(12))
def test_tissues_have_the_order_a_radiologist_expects(field_tesla, seed):
    rows = ["white matter", "cortex", "cerebrospinal fluid", "lesion"]
    properties = mean_properties(field_tesla)[[INDEX[row] for row in rows]]
    signal = {}
    for contrast in CONTRASTS:
        rng = np.random.default_rng(seed)
        protocol = draw_protocol(contrast, field_tesla, properties[2, 0], rng)
        signal[contrast] = protocol.signal(*properties.T)
    white, cortex, fluid, lesion = signal["T1w"]
    assert white > cortex > fluid and white > lesion
    white, cortex, fluid, lesion = signal["T2w"]
    assert fluid > lesion > cortex > white
    white, cortex, fluid, lesion = signal["PDw"]
    assert cortex > white
    white, cortex, fluid, lesion = signal["FLAIR"]
    assert lesion > cortex > white > 4 * fluid


def test_a_contrast_without_an_equation_is_refused_by_name():
    with pytest.raises(RequestError, match="bold.*T1w"):
        draw_protocol("bold", 3.0, 4000.0, np.random.default_rng(0))


# The tissue table


def test_no_label_belongs_to_two_tissues_and_each_row_names_its_source():
    labels = [label for tissue in TISSUES for label in tissue.labels]
    assert len(labels) == len(set(labels))
    assert all(tissue.source for tissue in TISSUES)


def test_relaxation_obeys_physics():
    low, high = (mean_properties(field_tesla) for field_tesla in FIELDS_TESLA)
    assert np.all(high[:, 0] >= low[:, 0])  # T1 grows with the field
    assert np.all(low[:, 1] < low[:, 0]) and np.all(high[:, 1] < high[:, 0])  # T2 < T1


def test_people_differ_about_as_much_as_the_table_says():
    rng = np.random.default_rng(0)
    row = INDEX["white matter"]
    drawn = np.array([draw_properties(3.0, rng)[row] for _ in range(500)])
    relative = drawn.std(axis=0) / mean_properties(3.0)[row]
    np.testing.assert_allclose(relative, TISSUES[row].spread, rtol=0.2)


@pytest.mark.parametrize("stranger", [-3, 99, 2035])
def test_a_label_without_tissue_is_named(stranger):
    with pytest.raises(VolumeError, match=f"\\[{stranger}\\]"):
        tissue_indices(np.array([0, 2, stranger]))


# The anatomy


def test_lesions_replace_white_matter_only(head):
    changed = add_lesions(head, ONE_MM, np.random.default_rng(0))
    lesion = changed == LESION_LABEL
    assert lesion.sum() > 5
    assert set(np.unique(head[lesion])) == {2}
    np.testing.assert_array_equal(changed[~lesion], head[~lesion])


def test_fat_replaces_soft_tissue_only_and_lies_under_the_skin(head):
    muscle = tissue_indices(head)
    tissues = add_fat(muscle, head, 2 * ONE_MM, np.random.default_rng(0))
    fat = tissues == INDEX["fat"]
    assert set(np.unique(head[fat])) == {507}
    np.testing.assert_array_equal(tissues[~fat], muscle[~fat])
    under_skin = ndimage.binary_dilation(head == 511) & (head == 507)
    assert fat[under_skin].mean() > 0.5 > (fat & (head == 515)).mean()


def test_smooth_field_has_unit_spread_and_no_steps():
    field = smooth_field((90, 80, 70), ONE_MM, 6, np.random.default_rng(0))
    assert field.shape == (90, 80, 70) and field.dtype == np.float32
    assert field.std() == pytest.approx(1, abs=0.05)
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in range(3)) < 1.2


# The phantom


@pytest.mark.parametrize("skull", [True, False])
def test_the_tissues_of_a_phantom_lie_where_its_contrasts_show_them(head, skull):
    config = replace(CLEAN, skull=skull, flip=True, rotation_degrees=8, lesions=True)
    volume = subject(head, 5, ("T2w",), config)["T2w"]
    tissues = phantom_tissues(head, LIA, np.random.default_rng(5), config)
    assert tissues.volume.shape == volume.shape
    np.testing.assert_array_equal(tissues.volume.affine, volume.affine)
    number = {name: n for n, name in tissues.names.items()}
    seen = volume.array > 1  # the fluid far from a brain is stripped with the skull
    found = {name: volume.array[seen & (tissues.volume.array == number[name])]
             for name in ("white matter", "cortex", "fluid")}  # fmt: skip
    assert all(values.std() < 0.1 * values.mean() for values in found.values())
    assert found["white matter"].mean() < found["cortex"].mean() < found["fluid"].mean()


def test_the_same_seed_gives_the_same_arrays_and_another_seed_another_person(head):
    config = PhantomConfig()
    first, again, other = (subject(head, seed, config=config) for seed in (5, 5, 6))
    for contrast in ("T1w", "T2w"):
        np.testing.assert_array_equal(first[contrast].array, again[contrast].array)
        assert not np.array_equal(first[contrast].array, other[contrast].array)


def test_asking_for_more_contrasts_does_not_change_the_others(head):
    alone = subject(head, contrasts=("T2w",))["T2w"]
    together = subject(head, contrasts=("FLAIR", "T2w", "PDw", "T1w"))
    assert list(together) == ["FLAIR", "T2w", "PDw", "T1w"]
    np.testing.assert_array_equal(alone.array, together["T2w"].array)


def test_the_background_is_exactly_zero_without_skull(head):
    volume = subject(head, config=replace(STILL, skull=False, fluid_margin_mm=2))["T2w"]
    shift = np.rint(np.linalg.solve(LIA, volume.affine[:, 3])[:3]).astype(int)
    box = tuple(slice(s, s + n) for s, n in zip(shift, volume.shape, strict=True))
    brain = np.isin(head[box], (2, 3, 4, 10))
    distance = ndimage.distance_transform_edt(~brain, sampling=2)
    assert np.all(volume.array[distance > 2 + 1e-6] == 0)
    assert np.all(volume.array[brain] > 0)
    assert np.all(volume.array[(distance > 0) & (distance <= 2)] > 0)  # the thin fluid remains


def test_a_speck_away_from_the_brain_does_not_survive_skull_stripping(head):
    specked = head.copy()
    specked[24, 28, 2] = 3
    stripped = subject(specked, config=replace(STILL, skull=False))["T2w"].array > 0
    pieces, count = ndimage.label(stripped)
    assert count == 1 and pieces.any()


def test_contrasts_share_one_grid_and_their_edges_coincide(head):
    from skimage.registration import phase_cross_correlation

    pair = subject(head, 3, config=PhantomConfig(noise=0.001, texture=0, bias=0))
    np.testing.assert_array_equal(pair["T1w"].affine, pair["T2w"].affine)
    edges = [ndimage.gaussian_gradient_magnitude(v.array, 0.7) for v in pair.values()]
    edges = [edge / (edge + np.median(edge[edge > 0])) for edge in edges]
    shift, _, _ = phase_cross_correlation(*edges, upsample_factor=10)
    np.testing.assert_allclose(shift, 0, atol=0.1)


def test_patient_coordinates_survive_cropping(head):
    padded = np.pad(head, 7)
    affine = LIA.copy()
    affine[:3, 3] -= LIA[:3, :3] @ [7, 7, 7]
    rng = np.random.default_rng(0)
    volume = phantom_subject(padded, affine, rng, ("T2w",), replace(CLEAN, skull=False))["T2w"]
    assert volume.shape < padded.shape
    center = world_center(ndimage.binary_erosion(head == 4), LIA)
    bright = ndimage.grey_erosion(volume.array, size=3)
    assert np.linalg.norm(world_center(bright == bright.max(), volume.affine) - center) < 2.0


def test_a_mirrored_subject_swaps_left_and_right_only(head):
    config = replace(CLEAN, flip=True, skull=False)
    centers = set()
    for seed in range(8):
        volume = subject(head, seed, ("T2w",), config)["T2w"]
        bright = ndimage.grey_erosion(volume.array, size=3)
        middle = world_center(volume.array > 0, volume.affine)
        offset = world_center(bright == bright.max(), volume.affine) - middle
        centers.add(tuple(np.sign(offset.round()).astype(int)))
    assert {right_left for right_left, _, _ in centers} == {-1, 1}
    assert len({(a, s) for _, a, s in centers}) == 1


def test_elastic_deformation_moves_tissue_by_millimeters_not_centimeters(head):
    still = subject(head, 1, ("T1w",), CLEAN)["T1w"].array > 0
    moved = subject(head, 1, ("T1w",), replace(CLEAN, deformation_mm=4))["T1w"].array > 0
    overlap = 2 * (still & moved).sum() / (still.sum() + moved.sum())
    assert 0.85 < overlap < 0.999


def test_noise_in_air_is_rayleigh_distributed(head):
    volume = subject(np.pad(head, ((0, 0), (0, 0), (6, 6))), contrasts=("T1w",))["T1w"]
    air = np.concatenate([volume.array[:5, :5].ravel(), volume.array[-5:, -5:].ravel()])
    assert air.mean() / air.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.15)


def test_bias_is_smooth_and_differs_between_contrasts(head):
    pair = subject(head, config=replace(CLEAN, bias=0.5, skull=False))
    flat = subject(head, config=replace(CLEAN, skull=False))
    inside = (flat["T1w"].array > 0) & (flat["T2w"].array > 0)
    fields = [np.log(pair[c].array[inside] / flat[c].array[inside]) for c in ("T1w", "T2w")]
    assert all(field.std() > 0.03 for field in fields)
    assert np.corrcoef(fields)[0, 1] < 0.98


@pytest.mark.parametrize(
    ("contrasts", "config", "message"),
    [
        (("T1w", "bold"), STILL, "bold"),
        ((), STILL, "choose among T1w"),
        (("T1w",), replace(STILL, field_tesla=7.0), "7.0 T; choose 1.5 or 3"),
    ],
)
def test_an_impossible_request_is_one_sentence(head, contrasts, config, message):
    with pytest.raises(RequestError, match=message):
        subject(head, contrasts=contrasts, config=config)


def test_a_label_map_without_brain_is_refused():
    with pytest.raises(VolumeError, match="no brain label"):
        subject(np.full((8, 8, 8), 511))


# Files and the command


def test_a_missing_label_map_and_an_image_are_refused(tmp_path):
    with pytest.raises(FileError, match="absent.nii"):
        read_label_map(tmp_path / "absent.nii")
    (tmp_path / "text.nii").write_text("no image")
    with pytest.raises(FileError, match="text.nii"):
        read_label_map(tmp_path / "text.nii")
    for value in (0.5, 2.0**15):
        nib.save(
            nib.Nifti1Image(np.full((4, 4, 4), value, np.float32), LIA), tmp_path / "image.nii"
        )
        with pytest.raises(VolumeError, match="image.nii: holds"):
            read_label_map(tmp_path / "image.nii")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), LIA), tmp_path / "image.nii")
    with pytest.raises(FileError, match="image.nii"):
        read_label_map(tmp_path / "image.nii")


@pytest.mark.skipif(not LABEL_MAPS.exists(), reason="needs the label maps in ../shared")
def test_a_real_head_shows_the_right_contrast_at_reduced_size():
    labels, affine = read_label_map(LABEL_MAPS / "training_seg_03.nii.gz")
    labels, affine = labels[::3, ::3, ::3], affine @ np.diag([3, 3, 3, 1.0])
    config = replace(STILL, blur_mm=(0.3, 0.3), bias=0.02)
    volumes = phantom_subject(labels, affine, np.random.default_rng(0), CONTRASTS, config)
    shape = volumes["T1w"].shape
    shift = np.linalg.solve(affine, volumes["T1w"].affine[:, 3])[:3]
    shift = np.rint(shift).astype(int)
    labels = labels[tuple(slice(s, s + n) for s, n in zip(shift, shape, strict=True))]
    kinds = {"white": (2, 41), "cortex": (3, 42), "fluid": (4, 43), "bone": (515,)}
    mean = {
        contrast: {k: volume.array[np.isin(labels, v)].mean() for k, v in kinds.items()}
        for contrast, volume in volumes.items()
    }
    t1w, t2w, flair = mean["T1w"], mean["T2w"], mean["FLAIR"]
    assert t1w["white"] > t1w["cortex"] > t1w["fluid"] > t1w["bone"]
    assert t2w["fluid"] > t2w["cortex"] > t2w["white"] > t2w["bone"]
    assert flair["white"] > 3 * flair["fluid"]
