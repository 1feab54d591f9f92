"""The card of a model of masks: read with its types, or refused by name; and found by its task."""

import json

import pytest

from MambaSynthLib.errors import ModelError
from MambaSynthLib.model import registry
from MambaSynthLib.model.card import WEIGHTS
from MambaSynthLib.model.card_file import parse_card
from MambaSynthLib.model.package import schema
from MambaSynthLib.model.registry import list_models, mask_model, model_for
from Testing.model_packages import mask_card, threshold_package

FILES = {"files": {WEIGHTS: {"sha256": "0" * 64, "bytes": 10}}}


def parse(**changes):
    return parse_card(json.dumps(mask_card(**changes) | FILES), schema(), "x/model.json")


def test_it_says_what_it_takes_and_what_it_finds():
    card = parse(source_contrasts=["T1w", "T2w", "FLAIR"])
    assert card.task == "mask" and card.grid.spacing_mm == 3 and card.config.multiple == 4
    assert card.direction == "T1w, T2w or FLAIR -> masks of brain and head"
    assert parse(source_contrasts=["T1w"]).direction.startswith("T1w -> ")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target_contrasts": ["brain"]}, "target_contrasts"),
        ({"grid": {"spacing_mm": 0.1}}, "grid.spacing_mm"),
        ({"grid": {"spacing_mm": 3, "size": [8, 8]}}, "grid"),
        ({"intensity": {"rule": "minmax"}}, "intensity.rule"),
        ({"network": {}}, "network: 'channels' is a required property"),
        ({"network": {"channels": [8]}}, "give 2 to 5 numbers"),
        ({"network": {"channels": [8, 1000]}}, "give 2 to 5 numbers"),
        ({"network": {"channels": "many"}}, "network.channels"),
        ({"sampling": {"timesteps": 4}}, "sampling has the unknown key 'timesteps'"),
    ],
)
def test_what_is_wrong_is_named(changes, said):
    with pytest.raises(ModelError, match="^x/model.json: ") as refusal:
        parse(**changes)
    assert said in str(refusal.value)


def test_a_mask_model_is_found_by_its_task_and_never_for_a_contrast(tmp_path, monkeypatch):
    threshold_package(tmp_path / "models/tiny-mask")
    monkeypatch.setenv("MAMBASYNTH_MODELS", str(tmp_path / "models"))
    assert mask_model().card.id == "tiny-mask"
    assert "tiny-mask" not in [package.card.id for package in list_models("contrast")]
    assert model_for("T1w", "T2w").card.task == "contrast"
    with pytest.raises(ModelError, match="brain: no installed model synthesizes it"):
        model_for("T1w", "brain")


def test_without_a_mask_model_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "shipped_models", lambda: tmp_path)
    with pytest.raises(ModelError, match="no installed model finds brains; import one with"):
        mask_model()
