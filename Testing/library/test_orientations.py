"""One head stored in 48 ways is one head: the synthetic volume agrees in physical space."""

from itertools import permutations, product

import numpy as np
import pytest

from MambaSynthLib.engine import Engine
from MambaSynthLib.image.volume import Volume

ORIENTATIONS = [(o, s) for o in permutations(range(3)) for s in product((1, -1), repeat=3)]


def stored(volume, order, signs):
    """The same voxels at the same places, with other array axes."""
    to_old = np.zeros((4, 4))  # new index -> old index
    to_old[3, 3] = 1
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        to_old[old, new] = sign
        to_old[old, 3] = 0 if sign > 0 else volume.shape[old] - 1
    array = volume.array.transpose(order)[tuple(slice(None, None, s) for s in signs)]
    return Volume(array, volume.affine @ to_old, volume.name)


def restored(array, order, signs):
    return array[tuple(slice(None, None, s) for s in signs)].transpose(np.argsort(order))


@pytest.fixture(scope="module")
def engine(tiny_package):
    return Engine(tiny_package, "cpu")


@pytest.fixture(scope="module")
def oblique_head(head):
    c, s = np.cos(np.radians(13.7)), np.sin(np.radians(13.7))
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, c, -s], [0, s, c]]
    noise = np.random.default_rng(5).normal(0, 3, head.shape)
    return Volume(np.where(head.array > 0, head.array + noise, 0), turn @ head.affine, "oblique")


@pytest.fixture(scope="module")
def expected(engine, oblique_head):
    return engine.synthesize({"T1w": oblique_head}, steps=1).volumes["T2w"].array


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_the_storage_order_changes_neither_a_voxel_nor_its_place(
    order, signs, engine, oblique_head, expected
):
    source = stored(oblique_head, order, signs)
    result = engine.synthesize({"T1w": source}, steps=1).volumes["T2w"]
    assert result.affine.tobytes() == source.affine.tobytes()
    assert np.array_equal(restored(result.array, order, signs), expected)


@pytest.mark.parametrize("codes", ["PSR", "LIP"])
@pytest.mark.parametrize("rule", ["percentile", "zscore"])
def test_that_holds_for_sagittal_and_coronal_models_and_both_rules(
    codes, rule, tmp_path, make_package, oblique_head, card
):
    card["grid"]["axis_codes"], card["intensity"]["rule"] = codes, rule
    package = make_package(tmp_path / "p", grid=card["grid"], intensity=card["intensity"])
    engine = Engine(package, "cpu")
    first = engine.synthesize({"T1w": oblique_head}, steps=1).volumes["T2w"].array
    for order, signs in ORIENTATIONS[5::11]:
        source = stored(oblique_head, order, signs)
        result = engine.synthesize({"T1w": source}, steps=1).volumes["T2w"]
        assert np.array_equal(restored(result.array, order, signs), first)


def test_a_mirrored_head_gives_another_result(engine, oblique_head, expected):
    mirrored = oblique_head.with_array(oblique_head.array[::-1])
    result = engine.synthesize({"T1w": mirrored}, steps=1).volumes["T2w"].array
    assert not np.array_equal(result[::-1], expected)
