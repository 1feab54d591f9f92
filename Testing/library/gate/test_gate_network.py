"""The shipped gate: small, whole, and refused where a bit of it is not what its card says."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from MambaSynthLib.errors import ModelError
from MambaSynthLib.gate import network
from MambaSynthLib.gate.look import SHAPE, coarsened, look_at
from MambaSynthLib.gate.network import CARD, WEIGHTS, read_gate, shipped_gate
from MambaSynthLib.gate.questions import ORIENTATIONS, QUESTIONS, UPRIGHT
from MambaSynthLib.gate.verdict import examine
from MambaSynthLib.image.volume import Volume

FOLDER = Path(network.__file__).parent
MOST_BYTES, MOST_SECONDS = 300_000, 2.0


def test_it_is_small_and_answers_every_question_with_probabilities():
    assert (FOLDER / WEIGHTS).stat().st_size < MOST_BYTES
    image = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    answers = shipped_gate().answers(image)
    for question, names in QUESTIONS.items():
        assert tuple(answers[question]) == names
        assert sum(answers[question].values()) == pytest.approx(1, abs=1e-5)


def test_there_are_24_orientations_and_one_is_upright():
    assert len(set(ORIENTATIONS)) == 24 and UPRIGHT in ORIENTATIONS


def test_a_large_volume_is_examined_within_two_seconds_of_processor_time():
    x = np.linspace(-1, 1, 256, dtype=np.float32)
    array = np.hypot(np.hypot(x[:, None, None], x[:, None]), x) < 0.8
    noisy = array * np.random.default_rng(0).random(array.shape, dtype=np.float32)
    volume = Volume(noisy, np.eye(4))
    began = time.process_time()
    examine(volume, "T1w")
    assert time.process_time() - began < MOST_SECONDS


@pytest.fixture
def copy(tmp_path):
    for name in (CARD, WEIGHTS):
        shutil.copy(FOLDER / name, tmp_path)
    return tmp_path


def test_a_whole_copy_is_the_same_gate(copy):
    image = look_at(coarsened(Volume(np.random.default_rng(1).random((30, 30, 30)), np.eye(4))))
    assert read_gate(copy).answers(image.image) == shipped_gate().answers(image.image)


def test_weights_that_changed_by_a_bit_are_refused(copy):
    data = bytearray((copy / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (copy / WEIGHTS).write_bytes(data)
    with pytest.raises(ModelError, match="its sha256 is .* but gate.json says .*; install"):
        read_gate(copy)


@pytest.mark.parametrize("missing", [CARD, WEIGHTS])
def test_a_missing_file_is_named(copy, missing):
    (copy / missing).unlink()
    with pytest.raises(ModelError, match="are missing or damaged; install MambaSynth again"):
        read_gate(copy)


@pytest.mark.parametrize("key", ["sha256", "thresholds"])
def test_a_card_without_what_is_needed_is_damaged(copy, key):
    card = json.loads((copy / CARD).read_text())
    del card[key]
    (copy / CARD).write_text(json.dumps(card))
    with pytest.raises(ModelError, match="missing or damaged"):
        read_gate(copy)


def test_the_card_says_whose_images_it_knows_and_under_which_license():
    card = json.loads((FOLDER / CARD).read_text())
    assert card["license"] == "CC-BY-SA-4.0" and len(card["attribution"]) > 3
    assert not set(card["learned_from"]) & set(card["thresholds_chosen_on"])
