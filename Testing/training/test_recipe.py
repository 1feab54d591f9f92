"""Recipes: read, checked key by key, over the values of a preset."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from engine_runs import TINY

from MambaSynthLib.errors import FileError, MambaSynthError, RequestError
from MambaSynthLib.model.package import read_package, shipped_models
from MambaSynthTraining.contrast.cravim.losses import Weights
from MambaSynthTraining.contrast.cravim.presets import PRESETS
from MambaSynthTraining.recipe_file import read_recipe, recipe_of, resolve

FOLDER = Path(__file__).resolve().parents[2] / "training/recipes"
RECIPES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "papers.yaml")
COMPACT = next(path for path in RECIPES if path.stem == "cravim-compact")


def changed(tmp_path, **changes) -> Path:
    """TINY with ``a__b=value`` put at ["a"]["b"], or taken away for None."""
    data = copy.deepcopy(TINY)
    for place, value in changes.items():
        *above, last = place.split("__")
        inner: Any = data
        for key in above:
            inner = inner[int(key) if key.isdigit() else key]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_can_be_read(path):
    recipe = read_recipe(path)
    assert recipe.iterations == sum(stage.iterations for stage in recipe.stages) > 0


def test_the_shipped_models_card_repeats_its_recipe():
    package = read_package(shipped_models() / "cravim-t1w-t2w-compact")
    training = package.card.extra["training"]
    assert training["recipe_file"] == COMPACT.name
    recorded = replace(recipe_of(training["recipe"]), grid=None, intensity=None)  # the data's
    assert recorded == recipe_of(resolve(read_recipe(COMPACT)))


def test_the_files_values_come_before_the_presets_and_these_before_the_defaults(tmp_path):
    recipe = read_recipe(changed(tmp_path, preset="paper", optimization={"ema": 0.5}))
    assert recipe.optimization.decay == "cosine" and recipe.optimization.ema == 0.5
    assert recipe.optimization.learning_rates["discriminators"] == 2e-4
    assert recipe.options == {"wiring": "paper", "discriminator_width": 2}


def write_recipes(folder, **recipes: dict[str, Any]) -> Path:
    """Files of these names in one folder of recipes."""
    (folder / "table").mkdir(exist_ok=True)
    for name, values in recipes.items():
        (folder / f"table/{name}.yaml").write_text(yaml.safe_dump(values))
    return folder / "table"


def test_a_derived_recipe_has_the_other_files_values_where_it_says_nothing(tmp_path):
    stages = [{"iterations": 1, "batch": 1, "crop": [64, 64]}]
    small = {"stages": stages, "weights": {"lambda_adv": 0.5}}
    table = write_recipes(
        tmp_path,
        first={**TINY, "weights": {"lambda_adv": 2.0, "lambda_cyc": 3.0}, "small": small},
        second={"from": "table/first", "weights": {"lambda_cyc": 4.0}},
        third={"from": "table/second", "seed": 3, "small": None},
    )
    second, third = (read_recipe(table / f"{name}.yaml") for name in ("second", "third"))
    assert second.weights == third.weights == {"lambda_adv": 2.0, "lambda_cyc": 4.0}
    assert (second.seed, third.seed, second.small) == (TINY["seed"], 3, False)
    small_second = read_recipe(table / "second.yaml", small=True)
    assert small_second.small and small_second.iterations == 1
    assert small_second.weights == {"lambda_adv": 0.5, "lambda_cyc": 4.0}
    with pytest.raises(MambaSynthError, match="third.yaml: it has no block small; leave --small"):
        read_recipe(table / "third.yaml", small=True)


def test_a_recipe_derived_from_nothing_or_from_itself_is_told(tmp_path):
    table = write_recipes(
        tmp_path,
        lost={"from": "elsewhere/none"},
        one={"from": "table/two"},
        two={"from": "table/one"},
        odd={**TINY, "small": 3},
    )
    with pytest.raises(FileError, match="none.yaml: cannot be read"):
        read_recipe(table / "lost.yaml")
    with pytest.raises(MambaSynthError, match="one.yaml: is derived from itself"):
        read_recipe(table / "one.yaml")
    with pytest.raises(MambaSynthError, match="small is 3, not a mapping"):
        read_recipe(table / "odd.yaml", small=True)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_recipe_that_needs_only_stages(preset):
    stages = [{"iterations": 5, "batch": 4, "crop": [256, 256]}]
    recipe = recipe_of({"method": "cravim", "preset": preset, "stages": stages})
    assert recipe.optimization.learning_rates["generators"] == 2e-4
    weights = Weights(**recipe.weights)
    printed = Weights(1.0, 5.0, 1.0, 15.0)
    assert (weights == printed) == (preset != "plus")


@pytest.mark.parametrize("path", [COMPACT, None], ids=["compact", "tiny"])
def test_the_record_of_a_recipe_is_that_recipe_again(path):
    recipe = read_recipe(path) if path else recipe_of(TINY)
    again = recipe_of(json.loads(json.dumps(resolve(recipe))))
    stages = [replace(stage, objective=stage.objective or "cycle") for stage in recipe.stages]
    assert again == replace(recipe, stages=tuple(stages))


def test_the_stages_follow_one_another():
    recipe = recipe_of(TINY)
    assert recipe.iterations == 8
    assert [recipe.stage_at(i).crop for i in (0, 2, 3, 5, 8)] == [
        (64, 64), (64, 64), (68, 64), (64, 64), (64, 64)
    ]  # fmt: skip
    assert (recipe.phase_of(4), recipe.phase_of(5)) == ((0, 5), (5, 8))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": None}, "lacks method"),
        ({"method": "cravin"}, "'cravin' is none of .*did you mean cravim"),
        ({"preset": "papers"}, "'papers' is none of released-code, paper, plus"),
        ({"stages": None}, "lacks stages"),
        ({"sneed": 12}, "unknown key 'sneed', meant seed"),
        ({"network__width": 4}, "network has the unknown key 'width'"),
        ({"weights__lambda_pared": 1.0}, "weights has the unknown key .*meant lambda_paired"),
        ({"options__wiring": "offical"}, "'offical' is none of official, paper"),
        ({"options__steps": 9}, "steps is 9"),
        ({"optimization__decay": "cosin"}, "'cosin' is none of constant, cosine, linear"),
        ({"optimization__ema": 1.0}, "ema is 1.0"),
        ({"optimization__learning_rates": {"generators": "2e-4"}}, "write it as 2.0e-4"),
        ({"optimization__betas": 0.5}, "betas is 0.5, not a list"),
        ({"optimization__betas": [0.5]}, "1 values instead of 2"),
        ({"stages__0__crop": [66, 64]}, "multiples of 4"),
        ({"stages__0__crop": [32, 64]}, "from 64"),
        ({"stages__0__batch": 0}, "3 iterations of batch 0"),
        ({"stages__0__batch": None}, r"stages\[0\] lacks batch"),
        ({"stages__0__objective": "pared"}, "'pared' is none of cycle, paired"),
        ({"stages__1__weights": {"lambda_cycle": 1.0}}, "weights has the unknown key"),
        ({"stages__1__augmentation": {"gama": 1.0}}, r"stages\[1\].augmentation .*meant gamma"),
        ({"stages": []}, "no stages"),
        ({"seed": True}, "seed is True"),
        ({"seed": "eleven"}, "seed is 'eleven'"),
        ({"shards": 3}, "3 equal shards"),
        ({"precision": "16"}, "precision '16'"),
        ({"every__log": 0}, "less than one iteration"),
    ],
)
def test_a_wrong_recipe_is_told_in_one_sentence(tmp_path, changes, told):
    path = changed(tmp_path, **changes)
    with pytest.raises(MambaSynthError, match=told) as caught:
        read_recipe(path)
    sentence = str(caught.value)
    assert sentence.startswith(str(path)) and "\n" not in sentence and sentence.endswith(".")


def test_a_recipe_that_does_not_exist_or_is_no_text_is_told(tmp_path):
    with pytest.raises(FileError, match="nowhere.yaml: cannot be read"):
        read_recipe(tmp_path / "nowhere.yaml")
    for content, told in (
        (b"\xff\xfe\x00binary", "can't decode"),
        (b"\x00", "special characters are not allowed"),
        (b"seed: [1", "expected ',' or ']'"),
        (b"a: !!python/object:os.x {}", "could not determine a constructor"),
        (b"seed: 1\nseed: 2\n", "the key 'seed' appears twice"),
        (b"optimization: {ema: 0.9, betas: [0.5, 0.9], ema: 0.5}", "the key 'ema' appears twice"),
        (b"rate: .inf", ".inf is no finite number"),
        (b"rate: 1.0e+400", "1.0e\\+400 is no finite number"),
        (b"seed: " + b"9" * 6000, "6000 digits"),
        (b"[" * 20_000, "it is nested too deeply"),
        (b"a: &a [x, x]\nmethod: &b [*a, *a]\n", "the alias 'a' stands in another"),
        (b"method: &a [*a]\n", "the alias 'a' stands in another"),
        (b"a: 2026-13-99", "month must be in 1..12"),
    ):
        (tmp_path / "image.yaml").write_bytes(content)
        with pytest.raises(FileError, match=f"image.yaml: is no YAML .*{told}") as caught:
            read_recipe(tmp_path / "image.yaml")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["&a [*a]", "method: &a {b: *a}", "&a {method: cravim, small: *a}"]
)
def test_a_recipe_that_holds_itself_is_told(tmp_path, content):
    (tmp_path / "image.yaml").write_text(content)
    with pytest.raises(MambaSynthError, match="image.yaml: "):
        read_recipe(tmp_path / "image.yaml")


@pytest.mark.parametrize("value", ["x" * 5000, "9" * 400, "[" + "x, " * 3000 + "]"])
@pytest.mark.parametrize("key", ["method", "seed", "optimization.ema", "stages"])
def test_a_value_of_any_length_is_told_in_a_sentence(key, value):
    with pytest.raises(RequestError, match="compare the files in training/recipes") as caught:
        read_recipe(COMPACT, changes=[f"{key}={value}"])
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize("width", [-1, 2**63])
def test_a_size_that_no_network_has_is_told_in_a_line(width):
    with pytest.raises(RequestError, match="compare the files in training/recipes") as caught:
        read_recipe(COMPACT, changes=[f"options.discriminator_width={width}"])
    assert "\n" not in str(caught.value)
