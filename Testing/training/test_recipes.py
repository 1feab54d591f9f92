"""Every recipe of the tables can be read, and every small form runs through its whole row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from MambaSynthTraining.data.augmentation import Augmentation
from MambaSynthTraining.data.slices import SlicePairs
from MambaSynthTraining.data.sources import what_needs_pairs
from MambaSynthTraining.engine.iteration import run_iteration
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.evaluation.rows import Row, find_rows
from MambaSynthTraining.recipe_file import read_recipe

RECIPES = Path(__file__).resolve().parents[2] / "training/recipes"
TABLES = ("table1", "table2")
FULL = [path for table in TABLES for path in sorted((RECIPES / table).glob("*.yaml"))]
FORCES = {"lambda_adv", "lambda_idt", "lambda_target"}  # toward the target's contrast, and against


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_the_tables_have_the_papers_rows():
    assert {name(p) for p in FULL} == {
        *(f"table1/{n}" for n in ("attentiongan", "cravim", "cravim-paper", "cravim-plus",
                                  "cravim-plus-cold", "cravim-plus-paired", "cut",
                                  "cyclegan", "pix2pix", "reggan", "selfrdb", "syndiff")),
        *(f"table2/{n}" for n in ("attgan-cycle", "attgan-cycle-denoise", "cravim",
                                  "cravim-cycle", "cravim-without-rdn",
                                  "cravim-without-trans", "resnet-cycle",
                                  "resnet-cycle-denoise")),
    }  # fmt: skip


@pytest.mark.parametrize("path", FULL, ids=name)
def test_a_full_row_has_a_small_form_of_the_same_method_and_title(path):
    full, small = (Row(path, read_recipe(path, small=size)) for size in (False, True))
    assert full.title == small.title and small.name == f"{full.name}-small"
    for value in ("method", "preset", "same_slice"):
        assert getattr(full.recipe, value) == getattr(small.recipe, value), value
    of_full, of_small = (
        {key: value for key, value in row.recipe.weights.items() if key not in FORCES}
        for row in (full, small)
    )
    assert of_full == of_small
    assert small.recipe.iterations * 20 <= full.recipe.iterations


def test_the_small_forms_without_pairs_are_pushed_alike():
    """A table whose rows differ in adversarial pressure would rank the pressure."""
    for path in FULL:
        recipe = read_recipe(path, small=True)
        if not what_needs_pairs(recipe):
            assert recipe.weights["lambda_adv"] == 5, path
            assert recipe.optimization.learning_rates["discriminators"] == 5e-4, path
            assert not any(recipe.weights.get(name) for name in FORCES - {"lambda_adv"}), path


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("table", TABLES)
def test_the_rows_of_a_table_are_fed_alike_but_for_pairs_where_a_method_needs_them(table, small):
    recipes = [read_recipe(path, small=small) for path in FULL if path.parent.name == table]
    assert all(recipe.epochs for recipe in recipes)
    assert {recipe.augmentation for recipe in recipes} == {Augmentation()}
    assert all(recipe.same_slice == bool(what_needs_pairs(recipe)) for recipe in recipes)


@pytest.mark.parametrize("path", FULL, ids=name)
def test_a_recipe_says_in_its_header_what_to_expect_and_on_what(path):
    header = [
        line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")
    ]
    assert any(line.startswith("# Expected: ") for line in header)
    for small in (False, True):
        expected = read_recipe(path, small=small).expected
        assert expected["hardware"] and expected["minutes"]
        assert {"row", "order"} <= set(expected)


@pytest.mark.parametrize("path", FULL, ids=name)
def test_a_small_form_trains_and_synthesizes(path):
    """Two iterations of the last stage; all networks move, but for those that the objective
    ``paired`` leaves out, and the exported output is an image."""
    state = State(read_recipe(path, small=True))
    before = {k: v.clone() for k, v in state.method.networks.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((4, 64, 64), generator=generator).mul(2).sub(1).numpy()
    pairs = SlicePairs(list(images[:2]), list(images[2:]), follows=[False, True])
    state.iteration = state.recipe.stage_starts[-1]
    for iteration in range(state.iteration, state.iteration + 2):
        state.set_rates()
        run_iteration(state.method, state.optimizers, shards(state, pairs, iteration),
                      state.recipe, iteration, machine())  # fmt: skip
        state.advance()
    moved = {k.partition(".")[0] for k, v in state.method.networks.named_parameters()
             if not torch.equal(v, before[k])}  # fmt: skip
    paired = state.recipe.stages[-1].objective == "paired"
    assert moved == ({"a_to_b"} if paired else {k.partition(".")[0] for k in before})
    with state.as_exported() as method:
        made = method.synthesize(torch.from_numpy(images[:1])[None], generator)
    assert made.shape == (1, 1, 64, 64) and torch.isfinite(made).all()


def shards(state, pairs, iteration):
    from MambaSynthLib.model.card import GridSpec, IntensitySpec
    from MambaSynthTraining.data.batches import Batches
    from MambaSynthTraining.data.sources import ContrastData

    data = ContrastData(
        [pairs], [1.0], GridSpec("LPS", None, (64, 64)), IntensitySpec("percentile", 99.5, (0, 1))
    )
    return next(iter(Batches(state.recipe, data, iteration, 0, 1)))


def machine():
    from MambaSynthTraining.engine.machine import Machine

    return Machine()


def test_rows_with_equal_recipes_are_one_training():
    rows = {t: {row.title: row.key for row in find_rows(RECIPES / t, small=True)} for t in TABLES}
    assert rows["table2"]["CRAViM"] == rows["table1"]["CRAViM (released code)"]
    assert rows["table2"]["ResNet, cycle"] == rows["table1"]["CycleGAN"]
    assert rows["table2"]["AttGAN, cycle"] == rows["table1"]["AttentionGAN"]
    assert len({key for table in rows.values() for key in table.values()}) == 17
