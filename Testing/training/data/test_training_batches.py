"""What a training draws: the same slices for the same seed, iteration and shard."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_runs import (
    some_data,
    tiny_recipe,
)

from MambaSynthLib.errors import RequestError
from MambaSynthTraining.data.batches import Batches, shard_count
from MambaSynthTraining.data.prepared_writing import write_dataset, write_subject
from MambaSynthTraining.data.slices import SlicePairs
from MambaSynthTraining.data.sources import prepared_data


def test_the_batches_are_a_function_of_seed_iteration_and_shard():
    recipe, data = tiny_recipe(shards=2), some_data()
    whole, later = Batches(recipe, data), Batches(recipe, data, first=3)
    assert len(whole) == 8 and len(later) == 5
    for one, two in zip(whole[3], later[0], strict=True):
        assert torch.equal(one.batch.source, two.batch.source) and one.seed == two.seed
        assert one.names == two.names
    first, second = (Batches(recipe, data, rank=rank, processes=2)[3] for rank in (0, 1))
    for one, two in zip(whole[3], [*first, *second], strict=True):
        assert torch.equal(one.batch.target, two.batch.target) and one.seed == two.seed
    assert len({shard.seed for k in range(8) for shard in whole[k]}) == 16
    other = Batches(replace(recipe, seed=12), data)[3][0]
    assert not torch.equal(other.batch.source, whole[3][0].batch.source)


def test_prepared_data_give_training_and_validation_slices_with_names_and_hashes(tmp_path):
    data, stacks = some_data(), {}
    for n, subject in enumerate(("IXI002", "IXI012", "IXI013")):
        slices = np.random.default_rng(n).uniform(-1, 1, (2, n + 1, 64, 60)).astype(np.float32)
        stacks[subject] = dict(zip(("T1w", "T2w"), slices, strict=True))
        write_subject(tmp_path, subject, stacks[subject], {}, {"paired": True})
    splits = {"train": ["IXI002", "IXI012"], "validation": ["IXI013"]}
    options = ("small", ("T1w", "T2w"), data.grid, data.intensity, {}, splits)
    write_dataset(tmp_path, *options)
    found = prepared_data(tmp_path)
    (group,), held_out = found.groups, found.validation
    assert [len(group), len(held_out)] == [3, 3] and found.contrasts == ("T1w", "T2w")
    assert np.array_equal(group.b[2], stacks["IXI012"]["T2w"][1])
    assert np.array_equal(held_out.a[1], stacks["IXI013"]["T1w"][1])
    assert (group.name(0), held_out.name(2)) == ("IXI002, slice 0", "IXI013, slice 2")
    digest = hashlib.sha256((tmp_path / "splits.json").read_bytes()).hexdigest()
    assert found.sha256["splits.json"] == digest and "dataset.json" in found.sha256
    assert found.grid == data.grid


def test_data_without_a_slice_are_refused():
    with pytest.raises(RequestError, match="hold no slice with tissue"):
        replace(some_data(), groups=[SlicePairs([], [])], shares=[1.0])


def test_batches_that_cannot_be_shared_evenly_are_refused():
    assert shard_count(tiny_recipe(), 2) == 2 and shard_count(tiny_recipe(shards=2), 1) == 2
    with pytest.raises(RequestError, match="3 processes cannot share batches of 2 in 1 shards"):
        shard_count(tiny_recipe(), 3)
    four = tiny_recipe(shards=2, stages=[{"iterations": 1, "batch": 4, "crop": [64, 64]}])
    with pytest.raises(RequestError, match="4 processes cannot share .* in 2 shards"):
        shard_count(four, 4)
