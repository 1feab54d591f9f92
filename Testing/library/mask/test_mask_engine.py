"""Masks by a network that looks at brightness alone: what the engine adds to its probabilities."""

import numpy as np
import pytest

from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import ModelError, VolumeError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.mask import engine as module
from MambaSynthLib.mask.engine import MaskEngine
from MambaSynthLib.methods.maskunet.synthesis import fold, unfold
from Testing.model_packages import mask_card, random_package, threshold_package

BACKENDS = ("torch", "onnxruntime")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return MaskEngine(threshold_package(tmp_path_factory.mktemp("models") / "m"), "cpu")


def scene(spacing=(3.0, 3.0, 3.0)):
    """A bright ball of 40 mm with a dark middle, in a dim one of 48; and a speck far from both."""
    sizes = [int(180 / edge) for edge in spacing]
    x, y, z = np.meshgrid(
        *((np.arange(n) + 0.5) * e - 90 for n, e in zip(sizes, spacing, strict=True)),
        indexing="ij",
    )
    distance = np.sqrt(x**2 + y**2 + z**2)
    array = np.select([distance < 12, distance < 40, distance < 48], [0.0, 100.0, 40.0], 0.0)
    array[np.sqrt((x - 80) ** 2 + (y - 80) ** 2 + (z - 80) ** 2) < 8] = 100
    return Volume(array, np.diag([*spacing, 1.0]), "balls"), distance


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (1.5, 2.0, 6.0), (6.0, 3.0, 1.0)])
def test_the_largest_part_is_found_without_its_holes_and_specks(engine, spacing):
    volume, distance = scene(spacing)
    masks = engine.find(volume)
    assert dice(masks.brain.array > 0, distance < 40) > 0.96
    assert dice(masks.head.array > 0, distance < 48) > 0.96
    assert masks.brain.array[distance < 8].all() and not masks.head.array[distance > 58].any()
    assert set(np.unique(masks.brain.array)) == {0, 1}
    assert masks.brain.shape == volume.shape
    np.testing.assert_array_equal(masks.head.affine, volume.affine)


def test_the_brain_lies_in_the_head_and_volumes_are_in_milliliters(engine):
    masks = engine.find(scene()[0])
    assert not np.any((masks.brain.array > 0) & (masks.head.array == 0))
    assert masks.milliliters("brain") == pytest.approx(4 / 3 * np.pi * 4**3, rel=0.05)
    assert masks.shows == "a whole head"


def bridged():
    """Two bright balls of 40 and 26 mm with a bridge between them that is 12 mm thick."""
    x, y, z = np.meshgrid(*((np.arange(72) - 36) * 3.0 for _ in range(3)), indexing="ij")
    first, second = (np.sqrt(x**2 + y**2 + (z - at) ** 2) for at in (40, -48))
    bridge = (np.hypot(x, y) < 6) & (z > -48) & (z < 40)
    array = np.where((first < 40) | (second < 26) | bridge, 100.0, 0.0)
    return Volume(array, np.diag([3.0, 3.0, 3.0, 1.0]), "bridge"), first < 40, second < 20


def test_what_hangs_on_a_brain_by_a_thin_bridge_is_none_of_it(engine):
    volume, first, second = bridged()
    masks = engine.find(volume)
    assert dice(masks.brain.array > 0, first) > 0.97
    assert not masks.brain.array[second].any() and masks.head.array[second].all()


def test_a_slab_that_is_thinner_than_such_a_bridge_is_a_brain_all_the_same(engine):
    volume, distance = scene()
    slab = Volume(volume.array[:, :, 30:34], volume.affine, "slab")
    found = engine.find(slab).brain.array > 0
    assert dice(found, distance[:, :, 30:34] < 40) > 0.9


def test_what_has_no_more_than_a_brain_is_called_so(engine):
    volume, distance = scene()
    bare = volume.with_array(np.where(distance < 40, volume.array, 0))
    assert engine.find(bare).shows == "a brain without its skull"


def test_flipped_axes_give_the_same_mask(engine):
    volume, _ = scene((2.0, 3.0, 5.0))
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    turn[:2, 3] = volume.shape[0] - 1, volume.shape[1] - 1
    flipped = Volume(volume.array[::-1, ::-1], volume.affine @ turn, "flipped")
    expected = engine.find(volume).brain.array
    np.testing.assert_array_equal(engine.find(flipped).brain.array[::-1, ::-1], expected)


def test_both_backends_find_the_same_of_random_weights(tmp_path):
    import torch

    package = random_package(tmp_path / "m", mask_card(network={"channels": [16, 8, 8]}))
    image = np.random.default_rng(0).random((1, 8, 8, 16, 12), dtype=np.float32)
    found = [MaskEngine(package, "cpu", name)._network(image) for name in BACKENDS]
    assert found[0].shape == (1, 16, 8, 16, 12)
    np.testing.assert_allclose(*found, atol=1e-5)
    assert torch.get_num_threads() >= 1


def test_folding_is_undone():
    image = np.random.default_rng(0).random((4, 6, 8), dtype=np.float32)
    both = unfold(np.concatenate([fold(image), 2 * fold(image)]))
    np.testing.assert_array_equal(both, [image, 2 * image])
    assert fold(image)[1, 0, 0, 0] == image[0, 0, 1]


def test_onnxruntime_is_taken_where_both_are_here(engine, monkeypatch):
    assert engine.backend == "onnxruntime" and engine.places[0].device == "cpu"
    monkeypatch.setattr(module, "installed_backends", lambda: ["torch"])
    assert MaskEngine(engine.package, "cpu").backend == "torch"
    monkeypatch.undo()
    monkeypatch.setenv("MAMBASYNTH_BACKEND", "torch")
    assert MaskEngine(engine.package, "cpu").backend == "torch"


def test_a_volume_without_a_brain_is_refused(tmp_path):
    nowhere = MaskEngine(threshold_package(tmp_path / "m", brain=5, head=5), "cpu")
    with pytest.raises(VolumeError, match="balls: no brain was found in it; give a T1w"):
        nowhere.find(scene()[0])


def test_nan_is_refused(engine):
    volume, _ = scene()
    array = volume.array.copy()
    array[0, 0, 0] = np.nan
    with pytest.raises(VolumeError, match="1 voxels are NaN"):
        engine.find(volume.with_array(array))


def test_a_model_of_another_task_is_refused_both_ways(engine, tiny_package):
    with pytest.raises(ModelError, match="synthesizes T1w -> T2w, no masks"):
        MaskEngine(tiny_package)
    said = "T1w or T2w -> masks of brain and head, no contrast; use it with 'mambasynth mask'"
    with pytest.raises(ModelError, match=said):
        Engine(engine.package)
