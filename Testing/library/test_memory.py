"""A GPU without enough memory: smaller batches, then the CPU, one message, the same result."""

import logging

import numpy as np
import pytest
import torch

from MambaSynthLib.backends import torch_backend
from MambaSynthLib.backends.memory import FittingNetwork
from MambaSynthLib.engine import Engine


class Device:
    """A network that doubles, on a device that holds ``room`` images at a time."""

    def __init__(self, room, error=None):
        self.room, self.batches = room, []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory.")

    def __call__(self, images):
        if len(images) > self.room:
            raise self.error
        self.batches.append(len(images))
        return 2 * images


def on_cpu(images):
    return 2 * images + 1e-4  # another rounding


IMAGES = np.arange(14, dtype=np.float32).reshape(7, 1, 2, 1)


@pytest.mark.parametrize("room", [7, 6, 3, 1])
def test_the_batch_is_halved_until_it_fits_and_nothing_is_lost_or_moved(room):
    device = Device(room)
    network = FittingNetwork(device, lambda: on_cpu, "cuda")
    assert np.array_equal(network(IMAGES), 2 * IMAGES)
    assert sum(device.batches) == 7 and max(device.batches) <= room


def test_the_size_that_fitted_is_kept_for_later_calls():
    device = Device(3)
    network = FittingNetwork(device, lambda: on_cpu, "cuda")
    network(IMAGES)
    device.batches.clear()
    network(IMAGES)
    assert device.batches == [3, 3, 1]


def test_where_not_one_image_fits_the_cpu_takes_over_for_good():
    made = []

    def make():
        made.append(1)
        return on_cpu

    network = FittingNetwork(Device(0), make, "cuda")
    for _ in range(2):
        np.testing.assert_allclose(network(IMAGES), 2 * IMAGES, atol=1e-3)
    assert made == [1]


def test_memory_that_ends_in_the_middle_of_a_volume_loses_no_slice():
    device = Device(7)
    network = FittingNetwork(device, lambda: on_cpu, "cuda")
    network(IMAGES)
    device.room = 0
    np.testing.assert_allclose(network(IMAGES), 2 * IMAGES, atol=1e-3)


@pytest.mark.parametrize("room", [3, 0])
def test_the_user_reads_one_line(room, caplog):
    network = FittingNetwork(Device(room), lambda: on_cpu, "cuda:1")
    with caplog.at_level(logging.WARNING):
        network(IMAGES)
        network(IMAGES)
    assert len(caplog.records) == 1
    assert "the memory of cuda:1 is" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_every_way_of_saying_so_is_understood(error):
    assert len(FittingNetwork(Device(3, error), lambda: on_cpu, "cuda")(IMAGES)) == 7


def test_other_failures_are_not_hidden():
    network = FittingNetwork(Device(3, RuntimeError("device-side assert")), lambda: on_cpu, "cuda")
    with pytest.raises(RuntimeError, match="device-side assert"):
        network(IMAGES)


def test_a_failure_of_the_cpu_that_took_over_is_not_hidden():
    network = FittingNetwork(Device(0), lambda: Device(0, MemoryError("host")), "cuda")
    with pytest.raises(MemoryError, match="host"):
        network(IMAGES)


def test_the_memory_of_a_failed_call_is_given_back_before_the_next():
    released = []
    FittingNetwork(Device(2), lambda: on_cpu, "cuda", lambda: released.append(1))(IMAGES)
    assert len(released) == 2  # 7 -> 3 -> 1


def test_an_engine_whose_gpu_is_full_gives_the_result_of_the_cpu(tiny_package, head, monkeypatch):
    """The whole way, with a GPU that is played by the CPU and has no memory."""

    def full(images):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    expected = Engine(tiny_package, "cpu").synthesize({"T1w": head}).volumes["T2w"].array
    engine = Engine(tiny_package, "cpu")
    cpu = engine._network
    engine._network = FittingNetwork(full, lambda: cpu, "cuda")
    found = engine.synthesize({"T1w": head}, batch=8).volumes["T2w"].array
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.max())


def test_the_batch_for_a_gpu_follows_its_free_memory(monkeypatch):
    def batch_with(gigabytes):
        free = int(gigabytes * 1024**3)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80 * 1024**3))
        return torch_backend.default_batch("cuda:0")

    sizes = [batch_with(gigabytes) for gigabytes in (0.1, 1, 4, 80)]
    assert sizes[0] == 1 and sizes[-1] == torch_backend.MOST_AT_ONCE
    assert sizes == sorted(sizes) and len(set(sizes)) > 2
