"""The gate's network learns, and the library's NumPy form of it gives the same answers."""

import json
import re

import numpy as np
import pytest
import torch

from MambaSynthLib.cli import main
from MambaSynthLib.gate.look import SHAPE
from MambaSynthLib.gate.network import Gate, Threshold
from MambaSynthLib.gate.questions import ORIENTATIONS, OUTPUTS, QUESTIONS
from MambaSynthLib.io.files import write_volume
from MambaSynthTraining.commands import score_gate
from MambaSynthTraining.gate.cases import Case
from MambaSynthTraining.gate.draws import NOT_ASKED
from MambaSynthTraining.gate.learning import GateNetwork, changed, loss_of, train
from MambaSynthTraining.gate.scoring import score, table
from MambaSynthTraining.gate.thresholds import HIGHEST, LOWEST, chosen_thresholds
from Testing.analytic_heads import analytic_head

SHOWN = list(QUESTIONS).index("orientation")


def looks(count, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE)).astype(np.float16)


def test_numpy_and_torch_give_the_same_probabilities():
    torch.manual_seed(0)
    network = GateNetwork()
    for norm in network.norms:
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.5, 2)
    network.eval()
    image = looks(1)[0].astype(np.float32)
    logits = network(torch.from_numpy(image)[None, None])[0].detach()
    answers = Gate(network.weights(), {}).answers(image)
    first = 0
    for question, names in QUESTIONS.items():
        expected = torch.softmax(logits[first : first + len(names)], 0).tolist()
        first += len(names)
        assert list(answers[question].values()) == pytest.approx(expected, abs=1e-5)
    assert first == OUTPUTS


def test_it_learns_to_tell_bright_from_dark():
    bright = np.arange(64) % 2
    images = (looks(64) * (0.3 + bright[:, None, None, None])).astype(np.float16)
    answers = np.full((64, len(QUESTIONS)), NOT_ASKED)
    answers[:, 0] = bright
    said = []
    network = train(images, answers, rounds=12, seed=0, say=said.append)
    gate = Gate(network.weights(), {})
    right = [gate.answers(x.astype(np.float32))["kind"]["CT"] > 0.5 for x in images]
    assert np.mean(np.equal(right, bright == 1)) > 0.9
    assert len(said) == 12 and said[-1].startswith("round 12 of 12: loss")


def test_what_is_not_asked_costs_nothing():
    logits = torch.randn(4, OUTPUTS, requires_grad=True)
    answers = torch.full((4, len(QUESTIONS)), NOT_ASKED)
    assert float(loss_of(logits, answers)) == 0
    answers[0, 0] = 2
    loss_of(logits, answers).backward()
    assert logits.grad[0, :5].abs().sum() > 0 and logits.grad[:, 5:].abs().sum() == 0


def test_a_mirrored_look_has_its_left_and_right_exchanged():
    torch.manual_seed(1)
    x, answers = torch.zeros(40, *SHAPE), torch.zeros(40, len(QUESTIONS), dtype=torch.long)
    x[:, :20] = 1
    answers[:, SHOWN] = ORIENTATIONS.index("RA")
    mirrored, y = changed(x, answers)
    for image, answer in zip(mirrored, y[:, SHOWN], strict=True):
        left_is_bright = image[:18].mean() > image[22:].mean()
        assert ORIENTATIONS[answer] == ("RA" if left_is_bright else "LA")
    assert len(set(y[:, SHOWN].tolist())) == 2


def test_thresholds_let_nearly_all_that_fits_pass():
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.2, 1, (1000, len(QUESTIONS)))
    shares[::2, 0] = np.nan
    shares[:, 1] = 0.001
    shares[:, 2] = 0.999
    found = list(chosen_thresholds(shares).values())
    assert 0.2 <= found[0].doubtful < 0.22 and found[0].refused < found[0].doubtful
    assert found[1].doubtful == LOWEST and found[2].doubtful == HIGHEST


def test_the_table_counts_each_answer_and_both_shares():
    never = Gate(GateNetwork().eval().weights(), dict.fromkeys(QUESTIONS, Threshold(0, 0)))
    head = analytic_head()["T1w"]
    mask = head.with_array((head.array > 500).astype(np.float32))
    scores = score(
        [Case("head", "T1w", head, fits=True), Case("mask", "T1w", mask),
         Case("missed", "T1w", head)],
        never,
    )  # fmt: skip
    lines = table(scores).splitlines()
    assert lines[2] == "| head | 1 | 1 | 0 | 0 |" and "| mask | 1 | 0 | 0 | 1 |" in lines
    assert lines[-1] == (
        "Caught: 50.0% of 2 unsuitable volumes; false alarms: 0.0% of 1 suitable ones."
    )
    assert [line.partition(":")[0] for line in scores.wrong] == ["missed"]


def test_a_gate_is_trained_scored_and_written_into_a_readme(tmp_path, capsys):
    lines = ["id\tperson\tpart\tanatomy\tcontrast\tpath\tlicense\tcitation"]
    for part in ("train", "choose", "score"):
        for contrast in ("T1w", "T2w"):
            name = f"{part}-{contrast}"
            write_volume(analytic_head((3, 3, 4))[contrast], tmp_path / f"{name}.nii")
            lines.append(f"{name}\t{part}\t{part}\thead\t{contrast}\t{name}.nii\tCC0-1.0\tnobody")
    (tmp_path / "list.tsv").write_text("\n".join(lines) + "\n")
    more = "more\tnobody-else\tscore\thead\tT2w\tscore-T2w.nii\tCC0-1.0\tnobody"
    (tmp_path / "more.tsv").write_text(f"{lines[0]}\n{more}\n")
    words = [str(tmp_path / "none"), str(tmp_path), "--list", str(tmp_path / "list.tsv")]
    out = tmp_path / "gate"
    assert main(["gate", *words, "--out", str(out), "--draws", "64", "--rounds", "1"]) == 0
    card = json.loads((out / "gate.json").read_text())
    assert card["learned_from"] == ["train"] and set(card["thresholds"]) == set(QUESTIONS)
    readme = tmp_path / "README.md"
    readme.write_text(f"# x\n<!-- made by: {score_gate.COMMAND} -->\nold\n<!-- /made -->\n")
    capsys.readouterr()
    both = [*words, str(tmp_path / "more.tsv")]
    assert main(["score-gate", *both, "--gate", str(out), "--readme", str(readme)]) == 0
    assert "| T2w, given as T1w | 2 |" in capsys.readouterr().out
    text = readme.read_text()
    assert "old" not in text and "| fits: T1w head | 1 |" in text and "of 3 suitable ones." in text
    (alone,) = re.findall(r"^more.tsv alone: .* unsuitable volumes; .*$", text, re.MULTILINE)
    assert "of 1 unsuitable" in alone and "of 1 suitable" in alone
    readme.write_text("# without the block\n")
    assert main(["score-gate", *words, "--gate", str(out), "--readme", str(readme)]) == 2
