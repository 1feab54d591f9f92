"""A GPU without enough memory: smaller batches, then the CPU, one message, the same result."""

import logging

import numpy as np
import pytest
import torch

from MambaSynthLib.backends import PlacedNetwork, torch_backend
from MambaSynthLib.backends.memory import FittingNetwork
from MambaSynthLib.engine import Engine
from MambaSynthLib.provenance import Place

GPU, CPU = Place("cuda:1", "tf32"), Place("cpu", "fp32")


class Device:
    """A network that doubles, on a device that holds ``room`` images at a time."""

    places = (GPU,)

    def __init__(self, room, error=None):
        self.room, self.batches = room, []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory.")

    def __call__(self, images):
        if len(images) > self.room:
            raise self.error
        self.batches.append(len(images))
        return 2 * images


on_cpu = PlacedNetwork(lambda images: 2 * images + 1e-4, (CPU,))  # another rounding

IMAGES = np.arange(14, dtype=np.float32).reshape(7, 1, 2, 1)


@pytest.mark.parametrize("room", [7, 6, 3, 1])
def test_the_batch_is_halved_until_it_fits_and_nothing_is_lost_or_moved(room):
    device = Device(room)
    network = FittingNetwork(device, lambda: on_cpu)
    assert np.array_equal(network(IMAGES), 2 * IMAGES)
    assert sum(device.batches) == 7 and max(device.batches) <= room


def test_the_size_that_fitted_is_kept_for_later_calls():
    device = Device(3)
    network = FittingNetwork(device, lambda: on_cpu)
    network(IMAGES)
    device.batches.clear()
    network(IMAGES)
    assert device.batches == [3, 3, 1]


def test_where_not_one_image_fits_the_cpu_takes_over_for_good():
    made = []

    def make():
        made.append(1)
        return on_cpu

    network = FittingNetwork(Device(0), make)
    for _ in range(2):
        np.testing.assert_allclose(network(IMAGES), 2 * IMAGES, atol=1e-3)
    assert made == [1]


def test_memory_that_ends_in_the_middle_of_a_volume_loses_no_slice():
    device = Device(7)
    network = FittingNetwork(device, lambda: on_cpu)
    network(IMAGES)
    device.room = 0
    np.testing.assert_allclose(network(IMAGES), 2 * IMAGES, atol=1e-3)


@pytest.mark.parametrize("room", [3, 0])
def test_the_user_reads_one_line(room, caplog):
    network = FittingNetwork(Device(room), lambda: on_cpu)
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
    assert len(FittingNetwork(Device(3, error), lambda: on_cpu)(IMAGES)) == 7


def test_other_failures_are_not_hidden():
    network = FittingNetwork(Device(3, RuntimeError("device-side assert")), lambda: on_cpu)
    with pytest.raises(RuntimeError, match="device-side assert"):
        network(IMAGES)


def test_a_failure_of_the_cpu_that_took_over_is_not_hidden():
    network = FittingNetwork(Device(0), lambda: Device(0, MemoryError("host")))
    with pytest.raises(MemoryError, match="host"):
        network(IMAGES)


def test_the_memory_of_a_failed_call_is_given_back_before_the_next():
    released = []
    FittingNetwork(Device(2), lambda: on_cpu, lambda: released.append(1))(IMAGES)
    assert len(released) == 2  # 7 -> 3 -> 1


def test_the_places_are_those_of_the_latest_call():
    device = Device(7)
    network = FittingNetwork(device, lambda: on_cpu)
    assert network.places == (GPU,)  # where the first call will be
    network(IMAGES)
    assert network.places == (GPU,)
    device.room = 0
    network(IMAGES)
    assert network.places == (CPU,)


def test_a_call_that_two_devices_shared_names_both():
    class Filling(Device):
        def __call__(self, images):
            self.room -= len(self.batches)
            return super().__call__(images)

    network = FittingNetwork(Filling(3), lambda: on_cpu)
    np.testing.assert_allclose(network(IMAGES), 2 * IMAGES, atol=1e-3)
    assert network.places == (GPU, CPU)


@pytest.fixture
def gpu(tiny_package):
    """An engine whose GPU is played by the CPU; ``calls_left`` tells when its memory ends."""
    engine = Engine(tiny_package, "cpu", backend="torch")
    cpu, engine.device, engine.calls_left = engine._network, GPU.device, 0

    def compute(images):
        engine.calls_left -= 1
        if engine.calls_left < 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return cpu(images)

    engine._network = FittingNetwork(PlacedNetwork(compute, (GPU,)), lambda: cpu)
    return engine


def test_an_engine_whose_gpu_is_full_gives_the_result_of_the_cpu(tiny_package, head, gpu):
    expected = Engine(tiny_package, "cpu").synthesize({"T1w": head}).volumes["T2w"].array
    found = gpu.synthesize({"T1w": head}, batch=8).volumes["T2w"].array
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.max())


def test_the_record_names_the_device_that_took_over_in_this_run_and_the_next(head, gpu):
    for _ in range(2):
        made = gpu.synthesize({"T1w": head}, batch=8).provenance
        assert (made.device, made.precision) == ("cpu", "fp32")
        assert made.warnings == ("memory: that of cuda:1 was not enough, so cpu computed instead",)


def test_a_run_that_began_on_the_gpu_and_ended_on_the_cpu_names_both(head, gpu):
    gpu.calls_left = 3  # of 4 steps of the first batch
    made = gpu.synthesize({"T1w": head}, steps=4, batch=8).provenance
    assert (made.device, made.precision) == ("cuda:1, cpu", "tf32, fp32")
    assert len(made.warnings) == 1


def test_a_gpu_with_enough_memory_is_recorded_alone_and_without_a_warning(head, gpu):
    gpu.calls_left = 100
    made = gpu.synthesize({"T1w": head}, batch=8).provenance
    assert (made.device, made.precision, made.warnings) == ("cuda:1", "tf32", ())


def test_the_batch_for_a_gpu_follows_its_free_memory(monkeypatch):
    def batch_with(gigabytes):
        free = int(gigabytes * 1024**3)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80 * 1024**3))
        return torch_backend.default_batch("cuda:0")

    sizes = [batch_with(gigabytes) for gigabytes in (0.1, 1, 4, 80)]
    assert sizes[0] == 1 and sizes[-1] == torch_backend.MOST_AT_ONCE
    assert sizes == sorted(sizes) and len(set(sizes)) > 2
