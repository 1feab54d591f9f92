"""A model card is read with its types, or refused by name in one line."""

import json

import numpy as np
import pytest

from MambaSynthLib.errors import ModelError
from MambaSynthLib.methods.diffusion import posterior
from MambaSynthLib.model import package as package_module
from MambaSynthLib.model.card import WEIGHTS
from MambaSynthLib.model.card_file import parse_card
from MambaSynthLib.model.package import schema

ENTRY = {WEIGHTS: {"sha256": "0" * 64, "bytes": 10}}


def parse(content):
    text = content if isinstance(content, str) else json.dumps(content)
    return parse_card(text, schema(), "x/model.json")


@pytest.fixture
def content(card):
    return card | {"files": ENTRY}


def put(content, place, value):
    *parents, last = place.split(".")
    for parent in parents:
        content = content[parent]
    content[last] = value


def test_a_valid_card_is_read_with_its_types(content):
    card = parse(content | {"limits": "many", "attribution": ["me"]})
    assert card.direction == "T1w -> T2w" and card.grid.size == (16, 16)
    assert card.weights_sha256 == "0" * 64
    assert card.extra == {"limits": "many", "attribution": ["me"]}


@pytest.mark.parametrize("key", schema()["required"])
def test_each_required_key_is_missed_by_name(key, content):
    del content[key]
    with pytest.raises(ModelError, match=f"^x/model.json: .*'{key}' is a required property"):
        parse(content)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("format", 2),
        ("id", ""),
        ("id", "../../etc"),
        ("id", "tiny\n"),
        ("id", "Ünïcode"),
        ("id", "a" * 65),
        ("version", "1.0"),
        ("method", "os.system"),
        ("source_contrasts", "T1w"),
        ("source_contrasts", []),
        ("source_contrasts", ["T1w", "T2w"]),
        ("target_contrasts", ["T2w\n"]),
        ("target_contrasts", ["T2w; rm"]),
        ("network.ngf", 0),
        ("network.ngf", -4),
        ("network.ngf", 6),
        ("network.ngf", 2**40),
        ("network.ngf", "4"),
        ("network.ngf", True),
        ("network.n_blocks", 10**9),
        ("network.n_attentions", 1),
        ("network.input_channels", 3),
        ("network._target_", "os.system"),
        ("grid.axis_codes", "LPX"),
        ("grid.axis_codes", "LLS"),
        ("grid.axis_codes", "LPS\n"),
        ("grid.in_plane_spacing_mm", 0),
        ("grid.in_plane_spacing_mm", -1),
        ("grid.size", [16]),
        ("grid.size", [18, 16]),
        ("grid.size", [4, 10**6]),
        ("intensity.rule", "eval"),
        ("intensity.upper_percentile", 101),
        ("intensity.target_range", [0, None]),
        ("sampling.timesteps", 0),
        ("sampling.default_steps", 0),
        ("sampling.default_samples", 65),
        ("sampling.beta_min", 0),
        ("files", {}),
        ("files", {WEIGHTS: {"sha256": "0" * 63, "bytes": 1}}),
        ("files", {WEIGHTS: {"sha256": "0" * 64, "bytes": 0}}),
        ("files", ENTRY | {"../x": ENTRY[WEIGHTS]}),
        ("license", ""),
        ("scores", {}),
        ("unknown", 1),
        ("_target_", "os.system"),
    ],
)
def test_a_value_out_of_its_kind_or_range_is_refused_in_one_line(place, value, content):
    put(content, place, value)
    with pytest.raises(ModelError, match="^x/model.json: ") as caught:
        parse(content)
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("intensity.target_range", [1000, 0], "does not grow"),
        ("intensity.target_range", [5, 5], "does not grow"),
        ("sampling.default_steps", 5, "more than the 4 timesteps"),
    ],
)
def test_values_that_exclude_each_other_are_refused(place, value, said, content):
    put(content, place, value)
    with pytest.raises(ModelError, match=said):
        parse(content)


def test_a_whole_number_may_be_written_with_a_point(content):
    content["network"]["ngf"], content["grid"]["size"] = 4.0, [16.0, 16.0]
    card = parse(content)
    assert type(card.network["ngf"]) is int and [type(n) for n in card.grid.size] == [int, int]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("1e400", "1e400"),
        ("-1e999", "-1e999"),
        ("9" * 5000, "is not valid JSON"),
        ("0x10", "is not valid JSON"),
        ("01", "is not valid JSON"),
    ],
)
def test_numbers_that_json_does_not_have_are_refused(number, said, content):
    text = json.dumps(content | {"training": {"rate": 4711}}).replace("4711", number)
    with pytest.raises(ModelError, match=f"^x/model.json: .*{said}"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"x"', "\ufeff{}", "[" * 100_000, '{"a":' * 100_000, "{'a': 1}",
     "format: 1\n", "!!python/object/apply:os.system ['true']", "\0"],
)  # fmt: skip
def test_text_that_is_no_card_is_refused(text):
    with pytest.raises(ModelError, match="^x/model.json: "):
        parse(text)


def test_a_key_given_twice_is_refused_at_any_depth(content):
    text = json.dumps(content)
    with pytest.raises(ModelError, match="'id' appears twice"):
        parse('{"id": "other", ' + text[1:])
    with pytest.raises(ModelError, match="'ngf' appears twice"):
        parse(text.replace('"ngf": 4', '"ngf": 4, "ngf": 256'))


def test_a_card_of_very_many_keys_is_refused_without_a_long_wait(content):
    many = json.dumps(content | {"training": {str(n): n for n in range(300_000)}})
    parse(many)
    with pytest.raises(ModelError, match="'7' appears twice"):
        parse(many.replace('"299999"', '"7"'))


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "$(touch x)", "{{7*7}}", "%(asctime)s", "`id`"])
def test_text_that_other_programs_would_execute_stays_text(text, content):
    content |= {"title": text, "trained_on": text, "training": {"_target_": text}}
    card = parse(content)
    assert (card.title, card.trained_on, card.extra["training"]["_target_"]) == (text,) * 3


def test_the_schema_is_a_valid_schema_and_closed():
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["additionalProperties"] is False
    assert package_module.schema() is schema()


@pytest.mark.parametrize("steps", [1, 2, 4, 1000])
@pytest.mark.parametrize("betas", [(100, 1000), (1e-9, 1000), (100, 1e-9), (1e-9, 1e-9)])
def test_each_schedule_that_is_not_refused_has_finite_posteriors(steps, betas, content):
    least, most = betas
    content["sampling"] |= {"timesteps": steps, "beta_min": least, "beta_max": most}
    content["sampling"]["default_steps"] = 1
    try:
        schedule = parse(content).sampling.schedule
    except ModelError as error:
        assert "drowns the image" in str(error) and steps in (2, 4) and most == 1000
        return
    for high in {1, max(1, steps // 2), steps}:
        q = posterior(schedule, high, high - 1)
        assert np.isfinite([q.of_estimate, q.of_current, q.std]).all()
