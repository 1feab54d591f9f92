"""The pool of earlier synthetic images: fair, restored bit-equal, shared by processes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import torch

from MambaSynthTraining.contrast.rivals import image_pool
from MambaSynthTraining.contrast.rivals.image_pool import ImagePool


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_pool_hands_on_what_it_is_given_until_it_is_full():
    pool = ImagePool(4)
    images = torch.arange(4.0).view(4, 1, 1, 1)
    assert torch.equal(pool.exchange(images, seeded()), images)


def test_a_full_pool_returns_new_images_and_earlier_ones_about_equally_often():
    pool, generator = ImagePool(20), seeded(5)
    pool.exchange(torch.full((20, 1, 2, 2), -1.0), generator)
    found = torch.cat(
        [pool.exchange(torch.full((1, 1, 2, 2), float(n)), generator) for n in range(400)]
    )[:, 0, 0, 0]
    is_new = found == torch.arange(400)
    assert 160 < int(is_new.sum()) < 240
    earlier = found[~is_new]
    assert (earlier < torch.arange(400)[~is_new]).all()
    assert len(earlier[earlier >= 0].unique()) == len(earlier[earlier >= 0])  # each left but once


def test_a_pool_of_none_returns_the_new_images():
    images = torch.rand(3, 1, 2, 2, requires_grad=True)
    found = ImagePool(0).exchange(images, seeded())
    assert torch.equal(found, images) and not found.requires_grad


def test_a_pool_restored_from_a_checkpoint_goes_on_bit_equal():
    original, generator = ImagePool(6), seeded(1)
    original.exchange(torch.rand(9, 1, 4, 4, generator=generator), generator)
    restored = ImagePool(6)
    restored.load_state_dict(original.state_dict())
    new = torch.rand(12, 1, 4, 4, generator=generator)
    assert torch.equal(original.exchange(new, seeded(2)), restored.exchange(new, seeded(2)))
    assert torch.equal(original.images, restored.images)


def test_two_processes_share_one_pool_as_one_process_with_both_batches(monkeypatch):
    rank, parts, barrier = threading.local(), {}, threading.Barrier(2)

    def all_gather(found, own):
        parts[rank.number] = own
        barrier.wait()
        for n, each in enumerate(found):
            each.copy_(parts[n])
        barrier.wait()

    monkeypatch.setattr(image_pool.dist, "is_initialized", lambda: hasattr(rank, "number"))
    monkeypatch.setattr(image_pool.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(image_pool.dist, "get_rank", lambda: rank.number)
    monkeypatch.setattr(image_pool.dist, "all_gather", all_gather)
    images = torch.rand(20, 2, 3, 1, 4, 4, generator=seeded())  # iterations, processes, batch

    def process(number: int) -> tuple[list[torch.Tensor], ImagePool]:
        rank.number = number
        pool = ImagePool(8)
        return [pool.exchange(images[n, number], seeded(2 * n + number)) for n in range(20)], pool

    with ThreadPoolExecutor(2) as threads:
        (first, pool0), (second, pool1) = threads.map(process, range(2))
    alone = ImagePool(8)
    for n in range(20):
        assert torch.equal(alone.exchange(images[n, 0], seeded(2 * n)), first[n])
        assert torch.equal(alone.exchange(images[n, 1], seeded(2 * n + 1)), second[n])
    assert torch.equal(pool0.images, pool1.images) and torch.equal(alone.images, pool0.images)


def test_images_of_another_size_start_the_pool_anew():
    pool = ImagePool(3)
    pool.exchange(torch.rand(3, 1, 4, 4), seeded())
    assert pool.exchange(torch.rand(2, 1, 8, 8), seeded()).shape == (2, 1, 8, 8)
    assert pool.images.shape == (2, 1, 8, 8)
