"""Runs of consecutive slices, and the neighbors that training takes from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from engine_runs import tiny_recipe
from tiny_data import CRAVIM, GRID, INTENSITY, head, train, write_tiny_data

from MambaSynthLib.cli import main
from MambaSynthLib.engine import Engine, Request, slice_noise
from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.intensity import Scaling
from MambaSynthLib.image.preparation import prepare
from MambaSynthLib.methods.diffusion import Schedule
from MambaSynthLib.model.package import read_package
from MambaSynthTraining.contrast.cravim.card import parity
from MambaSynthTraining.contrast.cravim.neighbors import Neighbors, with_neighbors
from MambaSynthTraining.contrast.cravim.step import (
    OFFICIAL,
    PAPER,
    Networks,
    draw_noise,
    generator_pass,
    paired_pass,
)
from MambaSynthTraining.data.augmentation import Augmentation, augment
from MambaSynthTraining.data.batches import Batches
from MambaSynthTraining.data.prepared_writing import write_dataset, write_subject
from MambaSynthTraining.data.slice_draws import Draws, draw_apart, draw_pairs
from MambaSynthTraining.data.slice_validation import validate
from MambaSynthTraining.data.slices import SlicePairs, following
from MambaSynthTraining.data.sources import ContrastData, prepared_data
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.export import draft
from MambaSynthTraining.recipe_file import recipe_of
from MambaSynthTraining.runs import open_run
from Testing.restoring import restored

# ---- where runs are


def people(*lengths: int) -> SlicePairs:
    """People of so many slices. Slice k of person p is 10 p + k (hundredths of) in source, the
    negative of it in the target, and brighter from left to right.
    """
    ramp = np.linspace(0, 0.004, 70, dtype=np.float32) * np.ones((72, 1), dtype=np.float32)
    levels = [p + k / 10 for p, length in enumerate(lengths) for k in range(length)]
    a = [np.float32(level / 10) + ramp for level in levels]
    follows = [k > 0 for length in lengths for k in range(length)]
    return SlicePairs(a, [-image for image in a], [f"{x:.1f}" for x in levels], follows)


def levels_of(images: torch.Tensor) -> list[float]:
    """(B,1,h,w) -> the 'p.k' of each slice."""
    return [round(float(image.abs().min()) * 10, 1) for image in images]


def test_runs_start_where_enough_slices_of_the_person_follow():
    group = people(4, 2, 3)
    assert group.starts(1).tolist() == list(range(9))
    assert group.starts(2).tolist() == [0, 1, 2, 4, 6, 7]
    assert group.starts(3).tolist() == [0, 1, 6]
    assert group.starts(5).tolist() == [] == group.starts(99).tolist()


def test_slices_around_another_are_of_the_same_person():
    group = people(4, 2)
    assert [group.around(n, 1) for n in range(6)] == [
        (0, 2), (0, 3), (1, 4), (2, 4), (4, 6), (4, 6),
    ]  # fmt: skip
    assert group.around(2, 0) == (2, 3) and group.around(1, 9) == (0, 4)


def test_a_gap_between_kept_slices_ends_a_run():
    assert following([4, 5, 6, 9, 10]) == [False, True, True, False, True]
    assert following([7]) == [False] and following([]) == []


@pytest.mark.parametrize("same_slice", [True, False])
def test_a_batch_is_made_of_runs_that_are_flipped_and_cut_alike(same_slice):
    rng = np.random.default_rng(0)
    groups, draws = [people(6, 4)], Draws((64, 64), run=3, flip=0.5)
    (a, b), names = (
        draw_pairs(groups, [1.0], 60, draws, rng)
        if same_slice
        else draw_apart(groups, groups, [1.0], 60, draws, rng)
    )
    assert a.shape == b.shape == (60, 1, 64, 64)
    starts = []
    for images in (a, -b):
        flipped = images[:, 0, 0, 0] > images[:, 0, 0, -1]
        for runs in range(0, 60, 3):
            run, found = images[runs : runs + 3], levels_of(images[runs : runs + 3])
            assert found == pytest.approx([found[0], found[0] + 0.1, found[0] + 0.2])
            assert len({int(level) for level in found}) == 1  # one person
            assert len(set(flipped[runs : runs + 3].tolist())) == 1
            inside = run - run[:, :, :1, :1]  # the same crop of the same ramp
            torch.testing.assert_close(inside, inside[:1].expand_as(run), atol=1e-6, rtol=0)
            starts.append(found[0])
        assert 3 < int(flipped.sum()) / 3 < 17
    pairs = list(zip(starts[:20], starts[20:], strict=True))
    assert (sum(x == y for x, y in pairs) == 20) == same_slice
    assert names[0].partition(" with ")[0] == f"{starts[0]:.1f}"


def test_data_without_such_runs_are_refused():
    with pytest.raises(RequestError, match="no 3 consecutive slices .*recipe with run: 1"):
        draws = Draws((64, 64), run=3)
        draw_pairs([people(2, 2)], [1.0], 3, draws, np.random.default_rng(0))


def write_people(folder: Path, paired: bool, **places: list[int]) -> None:
    """One person whose slices were cut at ``places``, and another of whom it is not known."""
    stacks = {name: np.zeros((len(where), 8, 8), np.float32) for name, where in places.items()}
    stacks["T1w"][0] = 0.5
    volumes = dict(zip(places, head(1), strict=True))
    write_subject(folder, "one", stacks, volumes, {"slices": places, "paired": paired})
    stacks = {name: np.full((3, 8, 8), 0.6, np.float32) for name in places}
    write_subject(folder, "two", stacks, volumes, {"paired": paired})  # does not say where
    splits = {"train": ["one", "two"]}
    write_dataset(folder, "gaps", ("T1w", "T2w"), GRID, INTENSITY, {}, splits)


def test_each_contrast_of_unpaired_people_has_runs_where_it_was_cut_side_by_side(tmp_path):
    write_people(tmp_path, False, T1w=[3, 4, 5, 6, 9], T2w=[3, 4, 6, 7])
    (source,), (target,) = prepared_data(tmp_path).sides
    assert list(source.follows) == [False, True, True, True, False, *[False] * 3]
    assert list(target.follows) == [False, True, False, True, *[False] * 3]
    assert source.name(4) == "one, slice 9" and target.name(4) == "two, slice 0"


def test_paired_people_have_runs_of_the_slices_that_both_contrasts_have(tmp_path):
    write_people(tmp_path, True, T1w=[3, 4, 5, 6, 9], T2w=[3, 4, 6, 7])
    data = prepared_data(tmp_path)
    (group,) = data.groups
    assert data.sides is None and len(group) == len(group.a) == len(group.b) == 6
    assert [group.name(n) for n in range(3)] == ["one, slice 3", "one, slice 4", "one, slice 6"]
    assert list(group.follows) == [False, True, False, *[False] * 3]


# ---- changes that a run shares


def test_a_run_is_augmented_alike_and_other_runs_otherwise():
    spread = Augmentation(shape=1.0, rotation=8, scale=0.1, gamma=0.3, bias=0.2)
    image = torch.rand(1, 1, 64, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    batch = image.expand(6, 1, 64, 48)
    for found in augment(batch, batch, spread, torch.Generator().manual_seed(0), run=3):
        runs = found.unflatten(0, (2, 3))
        assert torch.equal(runs, runs[:, :1].expand_as(runs))
        assert not torch.equal(runs[0], runs[1])


def test_the_noise_of_a_run_is_as_strong_and_not_the_same():
    image = torch.full((4, 1, 64, 64), 0.2)
    generator = torch.Generator().manual_seed(0)
    found, _ = augment(image, image, Augmentation(noise=0.1), generator, run=2)
    strengths = found.flatten(1).std(dim=1)
    assert strengths[0] == pytest.approx(float(strengths[1]), rel=0.05)
    assert abs(strengths[2] - strengths[0]) > 0.1 * strengths[0]
    assert not torch.equal(found[0], found[1])


# ---- neighbors within a run


def test_neighbors_are_those_of_the_run_and_its_border_is_repeated():
    slices = torch.arange(6.0).view(6, 1, 1, 1)
    found = with_neighbors(-slices, slices, 1, run=3)[:, :, 0, 0]
    expected = [[0, 0, 1], [-1, 0, 2], [-2, 1, 2], [-3, 3, 4], [-4, 3, 5], [-5, 4, 5]]
    assert found.tolist() == expected


@pytest.mark.parametrize("r", [1, 2, 3])
def test_a_run_of_a_whole_volume_has_the_neighbors_that_the_engine_finds(r):
    preparation = prepare(head(1)[0], GRID, INTENSITY)
    stack = torch.from_numpy(preparation.stack())[:, None]
    found = with_neighbors(stack[:, :0], stack, r, run=len(stack))
    assert np.array_equal(found.numpy(), preparation.neighbors(np.arange(len(stack)), r))


class Spy(torch.nn.Module):
    """A generator that remembers its inputs and mixes all of their channels."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images)
        mixed = self.factor * images.sum(1, keepdim=True)
        return torch.cat([images[:, :1], mixed], dim=1)


class Judge(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [image.mean((2, 3), keepdim=True)]


def cycle(wiring):
    networks = Networks(Spy(0.3), Spy(0.2), Judge(), Judge())
    a, b = torch.rand(2, 8, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise = draw_noise(a, Schedule(), torch.Generator().manual_seed(1))
    terms, ab, ba = generator_pass(networks, a, b, noise, wiring, Schedule(), Neighbors(1, 4))
    return networks, (a, b, ab, ba), terms


def test_the_way_back_of_a_cycle_sees_synthetic_neighbors_and_costs_no_network_call():
    networks, (a, b, ab, ba), _ = cycle(PAPER)
    assert len(networks.a_to_b.seen) == len(networks.b_to_a.seen) == 3
    sources = {"a_to_b": (a, ba, a), "b_to_a": (b, ab, b)}
    for name, expected in sources.items():
        for images, source in zip(getattr(networks, name).seen, expected, strict=True):
            assert images.shape == (8, 4, 4, 4) and torch.equal(images[:, :1], source)
            before = source[[0, 0, 1, 2, 4, 4, 5, 6], 0]
            after = source[[1, 2, 3, 3, 5, 6, 7, 7], 0]
            assert torch.equal(images[:, 2], before) and torch.equal(images[:, 3], after)


def test_the_cycle_of_a_slice_trains_what_made_its_neighbors():
    networks, (_, _, ab, _), _ = cycle(PAPER)
    back = networks.b_to_a.seen[1]  # of the way back
    (gradient,) = torch.autograd.grad(back[1, 1:].sum() + back[1, :1].sum(), ab)
    reached = gradient.abs().sum(dim=(1, 2, 3)) > 0
    assert reached.tolist() == [True, True, True, *[False] * 5]


def test_in_the_published_wiring_no_neighbor_passes_a_gradient_back():
    for wiring, passes in ((PAPER, True), (OFFICIAL, False)):
        networks, _, terms = cycle(wiring)
        (gradient,) = torch.autograd.grad(
            terms.cyc_a, networks.a_to_b.factor, allow_unused=True, retain_graph=True
        )
        assert (gradient is not None and bool(gradient)) == passes


def test_the_paired_pass_sees_the_neighbors_of_the_source():
    spy, (a, b) = Spy(0.1), torch.rand(2, 4, 1, 4, 4)
    noise = draw_noise(a, Schedule(), torch.Generator().manual_seed(0))
    paired_pass(spy, a, b, noise, torch.ones(4).bool(), Schedule(), Neighbors(2, 2))
    places = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert torch.equal(spy.seen[0][:, 2:], a[places, 0])


# ---- recipes


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"run": 0}, "whole runs of 0"),
        ({"run": 3}, "whole runs of 3"),
        ({"run": 2, "shards": 2}, "a shard of it, cannot be made of whole runs of 2"),
        ({"run": True}, "run is True"),
    ],
)
def test_a_recipe_whose_batches_are_not_whole_runs_is_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        tiny_recipe(**changes)


@pytest.mark.parametrize(
    ("neighbors", "run", "told"),
    [(1, 1, "set run to 2"), (9, 2, "is 9; give 0 to 4"), (-1, 2, "is -1"), (True, 2, "is True")],
)
def test_neighbors_that_cannot_be_are_refused(neighbors, run, told):
    network = {"ngf": 4, "n_blocks": 1, "n_attentions": 2, "neighbors": neighbors}
    with pytest.raises(ValueError, match=told):
        State(tiny_recipe(network=network, run=run))


def test_processes_share_whole_runs_only():
    stages = [{"iterations": 1, "batch": 4, "crop": [64, 64]}]
    data = ContrastData([people(4)], [1.0], GRID, INTENSITY)
    shared = Batches(tiny_recipe(stages=stages, run=2), data, rank=1, processes=2)
    assert len(shared[0][0].batch.source) == 2
    with pytest.raises(RequestError, match="4 processes cannot share .*in runs of 2"):
        Batches(tiny_recipe(stages=stages, run=2), data, processes=4)


# ---- a run of the training, scored and exported


SEEING = CRAVIM.replace("n_attentions: 3}", "n_attentions: 3, neighbors: 1}").replace(
    "batch: 1,", "batch: 4,"
).replace("discriminator_width: 4}", "discriminator_width: 4, steps: 1}") + "run: 2\n"  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """data, run."""
    place = tmp_path_factory.mktemp("place")
    write_tiny_data(place / "data")
    (place / "seeing.yaml").write_text(SEEING)
    train(place / "seeing.yaml", place / "data", place / "run")
    return place


def test_validation_shows_the_network_the_neighbors_of_its_slices(place, monkeypatch):
    slices = prepared_data(place / "data").validation
    state = State(recipe_of(open_run(place / "run").record["recipe"]))
    seen = []
    monkeypatch.setattr(
        state.method, "synthesize", lambda source, generator: seen.append(source) or -source
    )
    error = validate(state.method, slices, slices.b[0]).error
    assert [len(run) for run in seen] == [2, *[3] * (len(slices) - 2), 2]
    assert np.array_equal(seen[2][:, 0, :32, :32], np.stack([slices.a[n] for n in (1, 2, 3)]))
    expected = np.mean([np.abs(-slices.a[n] - slices.b[n]).mean() for n in range(len(slices))])
    assert error == pytest.approx(float(expected), abs=2e-3)  # the canvas is padded


def test_what_the_engine_makes_is_what_the_trained_network_makes_of_a_run(place, tmp_path):
    run = open_run(place / "run")
    package = draft(open_run(place / "run"), tmp_path / "draft")
    assert package.card.neighbors == 1 and parity(run, package)["largest_difference"] < 0.01
    source, _ = head(4)
    made = (
        Engine(package, "cpu", "torch")
        .synthesize({"T1w": source}, steps=1, pixel_mark=False)
        .volumes["T2w"]
    )
    preparation = prepare(source, GRID, INTENSITY)
    stack = torch.from_numpy(preparation.stack())[:, None]
    request = Request(1, 1, 0, "per-slice", None, 1)
    noise = [slice_noise(request, n, stack.shape[2:])[0] for n in range(len(stack))]
    with run.trained() as method:
        network = method.networks["a_to_b"]
        images = Neighbors(1, len(stack)).images(stack, torch.from_numpy(np.stack(noise)))
        expected = network(images)[:, 1].numpy()
    scaling = Scaling.of_range(0, 1000)
    np.testing.assert_allclose(made.array, restored(preparation, expected, scaling).array, atol=5)


def test_a_run_with_neighbors_is_scored_and_exported_as_any_other(place, tmp_path):
    scored = ["evaluate-set", str(place / "run"), "--data", str(place / "data"), "--seeds", "1"]
    assert main([*scored, "--out", str(tmp_path / "scores")]) == 0
    export = ["export", str(place / "run"), str(tmp_path / "package"), "--id", "seeing",
              "--title", "Seeing", "--trained-on", "Nobody.", "--license", "CC0-1.0"]  # fmt: skip
    assert main([*export, "--scores", str(tmp_path / "scores")]) == 0
    package = read_package(tmp_path / "package")
    assert package.card.network["neighbors"] == 1
    assert package.card.sampling.default_steps == 1  # the recipe's
    assert "neighboring slices seen on either side: 1" in package.describe()
