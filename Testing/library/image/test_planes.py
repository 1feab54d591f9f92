"""In which planes a volume is cut, and what becomes of what three planes say."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from MambaSynthLib.batch.existing import Settings, existing_result
from MambaSynthLib.cli import main
from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import ModelError, RequestError, VolumeError
from MambaSynthLib.image.planes import PLANES, planes_for
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from MambaSynthLib.model.package import read_package
from MambaSynthLib.provenance import Provenance
from Testing.library.image.test_interval import changed_card
from Testing.library.image.test_overlap import SIZES, untrained
from Testing.library.test_orientations import ORIENTATIONS, restored, stored

ALL = ("axial", "coronal", "sagittal")


def volume(spacing, shape=(50, 50, 50), axes=(0, 1, 2)):
    """Axis n of the array is the patient's axis axes[n]."""
    affine = np.zeros((4, 4))
    affine[list(axes), range(3)] = spacing
    affine[3, 3] = 1
    return Volume(np.zeros(shape), affine, "head.nii.gz")


@pytest.mark.parametrize(
    ("spacing", "axes", "expected"),
    [
        ((2.0, 2.0, 2.0), (0, 1, 2), ALL),
        ((1.6, 1.6, 2.0), (2, 0, 1), ALL),
        ((0.9, 0.9, 5.0), (0, 1, 2), ("axial",)),
        ((0.9, 0.9, 5.0), (0, 2, 1), ("coronal",)),
        ((5.0, 0.9, 0.9), (0, 1, 2), ("sagittal",)),
        ((0.9, 0.9, 5.0), (1, 2, 0), ("sagittal",)),
        ((3.0, 3.0, 3.0), (0, 1, 2), ("axial",)),  # nothing tells how it was acquired
    ],
)
def test_thin_slices_are_cut_in_all_planes_and_thick_ones_as_they_were_acquired(
    spacing, axes, expected
):
    assert planes_for(volume(spacing, axes=axes), "auto") == expected


def test_a_slab_of_thin_slices_is_not_cut_to_strips():
    assert planes_for(volume((1, 1, 1), (120, 120, 30)), "auto") == ("axial",)


def test_one_plane_and_all_can_be_asked_for():
    assert planes_for(volume((2, 2, 2)), "one") == ("axial",)
    assert planes_for(volume((5, 2, 2)), "one") == ("sagittal",)
    assert planes_for(volume((5, 2, 2)), "all") == ALL


# ---- through the engine


@pytest.fixture(scope="module")
def package(tmp_path_factory, make_package):
    """A package whose network says how wrong it may be, and has learned all planes."""
    folder = tmp_path_factory.mktemp("models") / "turning"
    return untrained(make_package, folder, SIZES | {"interval": 1}, grid={"planes": "all"})


@pytest.fixture(scope="module")
def engine(package):
    return Engine(package, "cpu", "torch")


def ellipsoid():
    """42 x 44 x 41 voxels of 2 mm: an ellipsoid, no mirror image or turn of which equals it."""
    i, j, k = np.meshgrid(*(np.arange(n, dtype=float) for n in (42, 44, 41)), indexing="ij")
    inside = ((i - 20) / 16) ** 2 + ((j - 23) / 19) ** 2 + ((k - 19) / 17) ** 2 <= 1
    array = np.where(inside, 300 + 9 * i + 5 * j + 3 * k + 60 * np.sin(i * j / 40 + k), 0)
    affine = np.array([[2.0, 0, 0, -40], [0, 2, 0, -44], [0, 0, 2, -38], [0, 0, 0, 1]])
    return Volume(array, affine, "thin.nii.gz")


@pytest.fixture(scope="module")
def thin():
    return ellipsoid()


@pytest.fixture(scope="module")
def whole(engine, thin):
    return engine.synthesize({"T1w": thin}, pixel_mark=False)


def cut_in(engine, plane, source, **options):
    """What ``engine`` makes of the slices of one plane, whichever it would have taken."""
    other = copy.copy(engine)
    other._planes = lambda request, preparation: {plane: PLANES[plane]}
    return other.synthesize({"T1w": source}, pixel_mark=False, **options)


@pytest.fixture(scope="module")
def single(engine, thin):
    return [cut_in(engine, plane, thin) for plane in ALL]


def test_the_image_is_the_mean_of_what_each_plane_says(whole, single):
    images = [one.volumes["T2w"].array for one in single]
    assert min(np.ptp(images[0] - image) for image in images[1:]) > 1
    np.testing.assert_allclose(whole.volumes["T2w"].array, np.mean(images, axis=0), atol=1e-3)


def test_the_interval_grows_by_what_the_planes_lie_apart(whole, single):
    images = np.array([one.volumes["T2w"].array for one in single])
    half_widths = np.array([one.spreads["T2w"].array for one in single])
    expected = np.sqrt((half_widths**2).mean(axis=0) + 1.645**2 * images.var(axis=0))
    np.testing.assert_allclose(whole.spreads["T2w"].array, expected, rtol=1e-4, atol=1e-2)


def test_the_record_tells_the_planes_and_comes_back_from_both_its_shapes(
    whole, single, tiny_package, head
):
    record = whole.record_of("T2w")
    assert record.planes == "axial, coronal, sagittal"
    assert [one.provenance.planes for one in single] == list(ALL)
    without_choice = Engine(tiny_package, "cpu").synthesize({"T1w": head}, steps=1)
    assert without_choice.provenance.planes is None
    assert record.to_bids()["Planes"] == record.planes
    assert (
        Provenance.from_bids(record.to_bids()) == Provenance.from_tags(record.to_tags()) == record
    )


def test_slices_of_all_planes_are_counted(engine, thin):
    calls = []
    engine.synthesize({"T1w": thin}, progress=lambda *counts: calls.append(counts))
    assert calls[0][0] == 0 and calls[-1][0] == calls[-1][1]
    assert calls == sorted(calls) and len({total for _, total in calls}) == 1
    assert calls[0][1] == sum(
        np.any(thin.array, axis=axes).sum() for axes in ((0, 1), (1, 2), (0, 2))
    )


@pytest.mark.parametrize("batch", [3, 50])
def test_the_batch_changes_no_bit(batch, engine, thin, whole):
    made = engine.synthesize({"T1w": thin}, batch=batch, pixel_mark=False)
    assert np.array_equal(made.volumes["T2w"].array, whole.volumes["T2w"].array)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[5::11])
def test_the_storage_order_changes_neither_a_voxel_nor_its_place(order, signs, engine, thin, whole):
    source = stored(thin, order, signs)
    made = engine.synthesize({"T1w": source}, pixel_mark=False).volumes["T2w"]
    assert made.affine.tobytes() == source.affine.tobytes()
    assert np.array_equal(restored(made.array, order, signs), whole.volumes["T2w"].array)


def test_a_range_is_computed_in_the_models_own_plane(engine, thin, single):
    made = engine.synthesize({"T1w": thin}, slices=(10, 12), pixel_mark=False)
    assert made.provenance.planes == "axial"
    expected = single[0].volumes["T2w"].array[:, :, 10:12]
    assert np.array_equal(made.volumes["T2w"].array[:, :, 10:12], expected)


def test_thick_sagittal_slices_are_synthesized_as_sagittal_slices(engine, thin):
    affine = thin.affine @ np.diag([3.0, 1, 1, 1])
    source = Volume(thin.array[::3], affine, "sagittal.nii.gz")
    made = engine.synthesize({"T1w": source}, pixel_mark=False)
    assert made.provenance.planes == "sagittal"
    expected, other = (cut_in(engine, plane, source) for plane in ("sagittal", "axial"))
    assert np.array_equal(made.volumes["T2w"].array, expected.volumes["T2w"].array)
    assert not np.array_equal(made.volumes["T2w"].array, other.volumes["T2w"].array)


def test_both_backends_agree(package, thin, whole):
    pytest.importorskip("onnxruntime")
    made = Engine(package, "cpu", "onnxruntime").synthesize({"T1w": thin}, pixel_mark=False)
    np.testing.assert_allclose(
        made.volumes["T2w"].array / 1000, whole.volumes["T2w"].array / 1000, atol=1e-4
    )


def test_what_cannot_be_is_refused_before_anything_is_computed(engine, tiny_package, thin, head):
    with pytest.raises(RequestError, match="planes is 'some'; give auto, one, all"):
        engine.synthesize({"T1w": thin}, planes="some")
    with pytest.raises(RequestError, match="a range of slices lies in one plane"):
        engine.synthesize({"T1w": thin}, planes="all", slices=(3, 4))
    with pytest.raises(RequestError, match="tiny-t1w-t2w has learned axial slices alone"):
        Engine(tiny_package, "cpu").synthesize({"T1w": head}, planes="all", steps=1)
    few = Volume(thin.array[:, :, 18:21], thin.affine, "few.nii.gz")
    with pytest.raises(VolumeError, match="few.nii.gz: its slices are 3 x"):
        engine.synthesize({"T1w": few}, planes="all")


def test_a_card_that_cannot_be_cut_in_all_planes_is_refused(package, tiny_package, tmp_path):
    mirrored = changed_card(package, tmp_path / "mirrored", grid={"axis_codes": "RPS"})
    noisy = changed_card(tiny_package, tmp_path / "noisy", grid={"planes": "all"})
    for folder in (mirrored, noisy):
        with pytest.raises(
            ModelError, match=r"grid\.planes: is all, which needs a network without"
        ):
            read_package(folder)


def test_the_command_takes_one_plane_and_says_so(package, thin, tmp_path, capsys):
    write_volume(thin, tmp_path / "sub_T1w.nii.gz")

    def made(*options):
        out = tmp_path / f"out{len(options)}.nii.gz"
        words = ["synthesize", tmp_path / "sub_T1w.nii.gz", "--to", "T2w", "-o", out, "--force",
                 "--model", package.folder, "--json", *options]  # fmt: skip
        assert main([str(word) for word in words]) == 0
        return json.loads(capsys.readouterr().out)["provenance"]["Planes"]

    assert made() == "axial, coronal, sagittal"
    assert made("--planes", "one") == "axial"


def test_a_result_of_other_planes_is_not_finished(package, engine, thin, whole, tmp_path):
    out = tmp_path / "out.nii.gz"
    made = engine.synthesize({"T1w": thin}, planes="one")
    write_volume(made.volumes["T2w"], out, provenance=made.record_of("T2w"))
    assert existing_result(out, thin, package, Settings(1, 1, planes="one")).kind == "finished"
    other = existing_result(out, thin, package, Settings(1, 1))
    assert other.kind == "made otherwise" and "of axial slices" in other.reason
