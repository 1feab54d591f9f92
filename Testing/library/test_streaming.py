"""Slices leave the volume and return to it a few at a time; memory stays that of volumes."""

import tracemalloc

import numpy as np
import pytest
import torch

from MambaSynthLib.backends import PlacedNetwork, torch_backend
from MambaSynthLib.engine import Engine
from MambaSynthLib.image.preparation import prepare
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.model.card import GridSpec, IntensitySpec
from Testing.restoring import restored

INTENSITY = IntensitySpec("percentile", 99.5, (0.0, 1000.0))


@pytest.fixture(params=["LPS", "PIL", "RSA"])
def preparation(request, head):
    return prepare(head, GridSpec(request.param, 1.5, (16, 16)), INTENSITY)


def test_chosen_slices_are_those_of_the_whole_stack(preparation):
    chosen = np.array([1, 4, 5])
    assert np.array_equal(preparation.slices(chosen), preparation.stack()[chosen])


def test_slices_written_in_any_order_make_the_volume_that_is_restored_at_once(preparation):
    stack, scaling = preparation.stack(), preparation.scaling
    array = preparation.blank(scaling)
    for chosen in np.array_split(np.arange(preparation.count)[::-1], 3):
        preparation.write(array, chosen, stack[chosen], scaling)
    assert np.array_equal(array, restored(preparation, stack, scaling).array)


def test_slices_that_were_not_written_hold_the_background(preparation):
    array = preparation.blank(preparation.scaling)
    preparation.write(array, np.array([4]), preparation.stack()[4:5], preparation.scaling)
    others = np.delete(preparation.reorientation.view(array), 4, axis=0)
    assert np.ptp(others) == 0
    assert np.ptp(preparation.reorientation.view(array)[4]) > 0


def tall(slices):
    """A bright disc of 96 x 96 pixels in each of many slices."""
    rows, columns = np.mgrid[-1:1:96j, -1:1:96j]
    disc = np.where(rows**2 + columns**2 < 0.6, 300 + 100 * columns, 0).astype(np.float32)
    return Volume(np.repeat(disc[:, :, None], slices, axis=2), np.diag([-2.0, -2, 2, 1]))


def test_the_engine_needs_memory_for_volumes_only_not_for_the_networks_slices(tiny_package):
    engine = Engine(tiny_package, "cpu")
    engine._network = PlacedNetwork(lambda images: images, engine._network.places)

    def peak(slices):
        volume = tall(slices)
        engine.synthesize({"T1w": volume}, steps=1, batch=2)  # what is cached is cached now
        tracemalloc.start()
        engine.synthesize({"T1w": volume}, steps=1, batch=2)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found, volume.array.nbytes

    (few, small), (many, large) = peak(20), peak(120)
    assert many - few < 2.5 * (large - small)  # the result, its frozen copy, the background mask


def test_the_batch_size_and_the_number_of_workers_change_no_bit(tiny_package, head):
    before = torch.get_num_threads()
    results = []
    try:
        for threads, batch in ((1, 1), (2, 3), (3, 8)):
            torch.set_num_threads(threads)
            engine = Engine(tiny_package, "cpu")
            results.append(engine.synthesize({"T1w": head}, steps=2, batch=batch))
    finally:
        torch.set_num_threads(before)
    first, *others = (result.volumes["T2w"].array for result in results)
    assert all(np.array_equal(first, other) for other in others)


def test_the_workers_leave_the_settings_of_the_program_alone(tiny_package):
    before = torch.get_num_threads()
    network = torch_backend.load_network(tiny_package, "cpu")
    network(np.zeros((3, 2, 16, 16), np.float32))
    assert torch.get_num_threads() == before
    assert float(torch.tensor(1e-39) * 1) > 0  # numbers below 1e-38 are kept here


def test_a_cpu_gets_one_slice_for_each_thread(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert torch_backend.default_batch("cpu") == 5
