"""Unpaired data: every method trains on them, each contrast drawn on its own; pairs are refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from baseline_twins import ABLATIONS, TWINS, twin_recipe
from tiny_data import GRID, INTENSITY, head

from MambaSynthLib.cli import main
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthTraining.data.batches import Batches
from MambaSynthTraining.data.kinds import open_data
from MambaSynthTraining.data.prepared_writing import write_dataset, write_subject
from MambaSynthTraining.data.slice_draws import Draws, draw_pairs
from MambaSynthTraining.data.slices import SlicePairs
from MambaSynthTraining.data.sources import NeedsPairs, prepared_data
from MambaSynthTraining.engine.iteration import run_iteration
from MambaSynthTraining.engine.machine import Machine
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.recipe_file import read_recipe

CONTRASTS = ("T1w", "T2w")
SETS = {  # person -> number of T1w and T2w slices; None: the person has no such image
    "fewer target slices": {"p1": (6, 3), "p2": (5, 2)},
    "equal numbers": {"p1": (4, 4), "p2": (3, 3)},
    "more target slices": {"p1": (3, 6), "p2": (2, 5)},
    "disjoint people": {"p1": (6, None), "p2": (None, 4), "p3": (3, None), "p4": (None, 3)},
    "twice as many people": {"p1": (3, None), "p2": (4, 5), "p3": (3, None), "p4": (2, 2)},
}
PAIRED_ONES = ("reggan", "pix2pix", "selfrdb")
UNPAIRED_ONES = sorted({*TWINS, *ABLATIONS} - {*PAIRED_ONES})


def write_set(folder: Path, people: dict, paired: bool = False) -> Path:
    """Slice k of person n is brighter by 0.01 k + 0.1 n; the target is -0.05 below its negative."""
    for n, (name, counts) in enumerate(people.items()):
        stacks, places = {}, {}
        for contrast, count, sign in zip(CONTRASTS, counts, (1, -1), strict=True):
            if count is not None:
                level = sign * (0.1 * n + 0.01 * np.arange(count, dtype=np.float32)) + 0.01
                stacks[contrast] = level[:, None, None] * np.ones((1, 64, 64), np.float32)
                places[contrast] = list(range(10, 10 + count))
        volumes = {c: v for c, v in zip(CONTRASTS, head(n), strict=True) if c in stacks}
        write_subject(folder, name, stacks, volumes, {"paired": paired, "slices": places})
    write_dataset(folder, "made up", CONTRASTS, GRID, INTENSITY, {}, {"train": list(people)})
    return folder


@pytest.fixture(scope="module", params=SETS)
def people(request, tmp_path_factory):
    return SETS[request.param], write_set(tmp_path_factory.mktemp("set"), SETS[request.param])


def recipe(name: str, **changes):
    """The small twin of a method, for the engine; of every row of both tables."""
    stages = [{"iterations": 2, "batch": 1, "crop": [64, 64]}]
    return twin_recipe(name, **{"stages": stages, **changes})


@pytest.mark.parametrize("name", UNPAIRED_ONES)
def test_a_method_without_pairs_trains_on_unpaired_people(name, people):
    made = recipe(name)
    data, state = open_data(made, people[1]), State(made)
    for iteration, shards in enumerate(Batches(made, data)):
        state.set_rates()
        terms = run_iteration(state.method, state.optimizers, shards, made, iteration, Machine())
        state.advance()
        assert all(torch.isfinite(value) for value in terms.values())
    assert state.iteration == 2


def test_each_contrast_is_drawn_from_all_slices_of_whoever_has_it(people):
    counts, folder = people
    made = recipe("cyclegan", stages=[{"iterations": 60, "batch": 4, "crop": [64, 64]}])
    data = prepared_data(folder, made)
    seen: tuple[Counter, Counter] = Counter(), Counter()
    together = set()
    for k in range(60):
        shard = data.draw(made, k, 0, 1)
        for row, name in enumerate(shard.names):
            parts = name.split(" with ")
            together.add(tuple(parts))
            for side, part in enumerate(parts):
                seen[side][part] += 1
                person, _, place = part.partition(", slice ")
                level = 0.1 * [*counts].index(person) + 0.01 * (int(place) - 10)
                image = shard.batch[side][row]
                torch.testing.assert_close(
                    image, torch.full_like(image, level * (1 - 2 * side) + 0.01)
                )
    for side in (0, 1):
        wanted = {f"{p}, slice {10 + k}" for p, n in counts.items() for k in range(n[side] or 0)}
        assert set(seen[side]) == wanted
        assert min(seen[side].values()) > 0.4 * 240 / len(wanted)
    assert len(together) > 0.8 * len(seen[0]) * len(seen[1])  # independent draws meet each other


def test_the_record_and_the_unused_parts_say_that_the_data_are_unpaired(tmp_path):
    data = prepared_data(write_set(tmp_path, SETS["fewer target slices"]))
    assert data.about()["paired"] is False
    assert data.about()["slices"] == {"train": 11, "train_target": 5, "validation": 0}
    told = data.unused(recipe("cyclegan"))
    assert any("same_slice: true (the data are unpaired" in one for one in told)
    assert not any("same_slice" in one for one in data.unused(recipe("cyclegan", same_slice=False)))


PAIRED = {
    "pix2pix": ({}, "pix2pix learns"),
    "selfrdb": ({}, "selfrdb learns"),
    "reggan": ({}, "reggan learns"),
    "cravim": ({"weights": {"lambda_paired": 1.0}}, "cravim with the objective cycle and lambda_p"),
    "cycle-denoise-resnet": (
        {"stages": [{"iterations": 1, "batch": 2, "crop": [64, 64], "objective": "paired"}]},
        "cycle-denoise with the objective paired learns",
    ),
}


@pytest.mark.parametrize("name", PAIRED)
def test_what_learns_from_pairs_refuses_people_that_are_not_marked_as_paired(name, people):
    changes, told = PAIRED[name]
    with pytest.raises(NeedsPairs, match=f"{told}.*not every .*paired: true; make pairs with"):
        open_data(recipe(name, **changes), people[1])


def test_the_command_refuses_in_one_sentence_before_it_makes_a_run(tmp_path, capsys):
    folder = write_set(tmp_path / "data", SETS["equal numbers"])
    values = {"method": "pix2pix", "preset": "paper", "network": TWINS["pix2pix"],
              "stages": [{"iterations": 1, "batch": 1, "crop": [64, 64]}]}  # fmt: skip
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(values))
    words = ["train", tmp_path / "r.yaml", "--data", folder, "--out", tmp_path / "run"]
    assert main([*map(str, words)]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_recipe_with_pairs_and_independent_draws_contradicts_itself(tmp_path):
    values = {"method": "reggan", "preset": "paper", "same_slice": False,
              "network": TWINS["reggan"],
              "stages": [{"iterations": 1, "batch": 1, "crop": [64, 64]}]}  # fmt: skip
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(RequestError, match="reggan learns from pairs; leave same_slice: false out"):
        read_recipe(tmp_path / "r.yaml")


def test_pairs_are_matched_by_subject_and_slice_never_by_position(tmp_path):
    ramps = {c: np.arange(n, dtype=np.float32)[:, None, None] * np.ones((1, 8, 8), np.float32)
             for c, n in (("T1w", 4), ("T2w", 5))}  # fmt: skip
    places = {"T1w": [7, 8, 9, 11], "T2w": [5, 6, 8, 9, 11]}
    volumes = dict(zip(CONTRASTS, head(1), strict=True))
    write_subject(tmp_path, "p1", ramps, volumes, {"paired": True, "slices": places})
    write_dataset(tmp_path, "x", CONTRASTS, GRID, INTENSITY, {}, {"train": ["p1"]})
    (group,) = prepared_data(tmp_path).groups
    assert [(float(a[0, 0]), float(b[0, 0])) for a, b in zip(group.a, group.b, strict=True)] == [
        (1, 2), (2, 3), (3, 4),
    ]  # fmt: skip


def test_paired_stacks_of_different_length_without_places_are_refused(tmp_path):
    stacks = {c: np.zeros((n, 8, 8), np.float32) for c, n in (("T1w", 4), ("T2w", 5))}
    volumes = dict(zip(CONTRASTS, head(1), strict=True))
    write_subject(tmp_path, "p1", stacks, volumes, {"paired": True})
    write_dataset(tmp_path, "x", CONTRASTS, GRID, INTENSITY, {}, {"train": ["p1"]})
    with pytest.raises(FileError, match="p1: is marked as paired, but has 4 slices of T1w and 5"):
        prepared_data(tmp_path)


# ---- epochs and flips are the recipe's


def drawn(made, data, count: int = 1) -> list[list[str]]:
    """The names of the slices of each iteration."""
    return [
        [name for n in range(count) for name in data.draw(made, k, n, count).names]
        for k in range(made.iterations)
    ]


STAGES = [{"iterations": 3, "batch": 2, "crop": [64, 64]},
          {"iterations": 4, "batch": 4, "crop": [64, 64]}]  # fmt: skip


def test_an_epoch_has_every_pair_once_across_batches_and_stages(tmp_path):
    data = prepared_data(write_set(tmp_path, SETS["equal numbers"], paired=True))  # 7 pairs
    made = recipe("cyclegan", epochs=True, stages=STAGES)
    names = sum(drawn(made, data), [])
    first, second, third = names[:7], names[7:14], names[14:21]
    assert len(set(first)) == 7 and sorted(first) == sorted(second) == sorted(third)
    assert first != second
    assert sum(drawn(made, data, count=2), []) == names  # of any number of shards
    assert (
        max(
            Counter(
                sum(drawn(recipe("cyclegan", epochs=False, stages=STAGES), data), [])[:7]
            ).values()
        )
        > 1
    )


def test_each_contrast_has_epochs_of_its_own_where_they_are_drawn_apart(people):
    counts, folder = people
    made = recipe("cyclegan", epochs=True, same_slice=False, stages=STAGES)
    pairs = [name.split(" with ") for name in sum(drawn(made, prepared_data(folder)), [])]
    for side in (0, 1):
        total = sum(n[side] or 0 for n in counts.values())
        names = [pair[side] for pair in pairs]
        assert len(set(names[:total])) == len(names[:total])
        assert sorted(names[total : 2 * total]) == sorted(names[:total]) or 2 * total > len(names)


@pytest.mark.parametrize(("flip", "share"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_slices_are_mirrored_as_often_as_the_recipe_says(flip, share):
    ramp = np.linspace(-0.5, 0.5, 64, dtype=np.float32) * np.ones((64, 1), np.float32)
    rng, draws = np.random.default_rng(0), Draws((64, 64), flip=flip)
    batch, _ = draw_pairs([SlicePairs([ramp], [ramp])], [1.0], 200, draws, rng)
    mirrored = batch.source[:, 0, 0, 0] > 0
    assert abs(float(mirrored.float().mean()) - share) < 0.1


@pytest.mark.parametrize("paired", [True, False])
def test_groups_with_shares_are_mixed_by_them_and_refuse_epochs(tmp_path, paired):
    write_set(tmp_path, SETS["equal numbers"], paired)
    write_dataset(tmp_path, "made up", CONTRASTS, GRID, INTENSITY, {}, {"train": ["p1", "p2"]},
                  {"p2": "phantoms"}, {"phantoms": 0.25})  # fmt: skip
    stage = {"iterations": 60, "batch": 4, "crop": [64, 64]}
    made = recipe("cyclegan", epochs=False, stages=[stage])
    data = prepared_data(tmp_path, made)
    assert (data.sides is None) == paired
    names = [name for one in drawn(made, data) for pair in one for name in pair.split(" with ")]
    of_phantoms = sum(name.startswith("p2") for name in names) / len(names)
    assert 0.15 < of_phantoms < 0.35  # p2 has 3 of the 7 slices
    with pytest.raises(RequestError, match="epochs have no meaning where phantoms"):
        prepared_data(tmp_path, recipe("cyclegan", epochs=True))
