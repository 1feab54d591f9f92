"""The mask network learns, goes on where it was killed, and is scored and written as a package."""

import json

import numpy as np
import pytest
import torch

from MambaSynthLib.cli import main
from MambaSynthLib.errors import FileError
from MambaSynthLib.io.files import write_volume
from MambaSynthLib.mask.engine import MaskEngine
from MambaSynthLib.methods.maskunet.config import MaskConfig
from MambaSynthLib.methods.maskunet.synthesis import fold, unfold
from MambaSynthLib.model.package import read_package, write_package
from MambaSynthTraining.mask import drawn as drawn_module
from MambaSynthTraining.mask import learning
from MambaSynthTraining.mask.draws import SHAPE, draw, example_of
from MambaSynthTraining.mask.learning import NormedNetwork, changed, folded, loss_of, unfolded
from MambaSynthTraining.mask.scoring import Score as Line
from MambaSynthTraining.mask.scoring import dice, forms_of, read_scores, rows_of, write_scores
from MambaSynthTraining.mask.truths import Truth
from Testing.analytic_heads import analytic_head
from Testing.model_packages import mask_card, threshold_package

CHANNELS = (8, 4)
COLUMNS = "id person part anatomy contrast path mask to_common license citation".split()


@pytest.fixture(scope="module")
def truth():
    bare = analytic_head((3, 3, 4), skull=False)["T1w"]
    return Truth("a", "head T1w", analytic_head((3, 3, 4))["T1w"], bare.array != 0,
                 analytic_head((3, 3, 4))["T1w"].array > 80, True)  # fmt: skip


@pytest.fixture
def drawn():
    """Four pictures of bright balls, whose masks are the balls."""
    x, y, z = np.meshgrid(*(np.arange(n) - n / 2 for n in SHAPE), indexing="ij")
    distance = np.sqrt(x**2 + y**2 + z**2)
    images = np.stack([(distance < r) + 0.4 * (distance < r + 6) for r in (14, 18, 22, 26)])
    masks = np.stack([[distance < r, distance < r + 6] for r in (14, 18, 22, 26)])
    return images.astype(np.float16), (255 * masks).astype(np.uint8)


def test_drawn_forms_keep_image_and_masks_together(truth):
    example = example_of(truth)
    assert example.image.shape == example.masks.shape[1:] and example.masks.max() == 255
    shapes, inside, whole = set(), [], []
    for n in range(12):
        found = draw(example, np.random.default_rng(n))
        shapes.add(found.image.shape)
        brain, head = found.masks > 127
        assert np.mean(brain & ~head) < 0.001 and found.image.max() <= 3
        inside.append(np.median(found.image[brain]) - np.median(found.image[~head]))
        whole.append(brain.sum() < 0.8 * head.sum())
    assert shapes == {SHAPE} and min(inside) > 0.2 and {True, False} == set(map(bool, whole))


def test_the_same_seed_draws_the_same(truth):
    example = example_of(truth)
    one, other = (draw(example, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.masks, other.masks)


def test_torch_folds_as_the_library_does():
    image = np.random.default_rng(0).random((4, 6, 8), dtype=np.float32)
    ours = folded(torch.from_numpy(image)[None])
    np.testing.assert_array_equal(ours[0], fold(image))
    both = np.concatenate([fold(image), -fold(image)])
    np.testing.assert_array_equal(unfolded(torch.from_numpy(both)[None])[0], unfold(both))


def test_the_written_weights_are_the_trained_network_without_its_norms(tmp_path):
    torch.manual_seed(0)
    network = NormedNetwork(MaskConfig(CHANNELS))
    for norm in network.norms.values():
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.5, 2)
    network.eval()
    card = mask_card(network={"channels": list(CHANNELS)})
    package = write_package(tmp_path / "m", card, network.weights(), "# m\n")
    x = np.random.default_rng(0).random((1, 8, 8, 8, 12), dtype=np.float32)
    expected = network(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(MaskEngine(package, "cpu")._network(x), expected, atol=1e-4)


def test_it_learns_and_a_killed_training_ends_with_the_same_weights(tmp_path, drawn, monkeypatch):
    monkeypatch.setattr(learning, "KEPT_EVERY", 6)
    said = []
    whole = learning.train(drawn, CHANNELS, 12, 0, tmp_path, said.append).weights()
    losses = [float(line.rpartition(" ")[2]) for line in said]
    assert len(losses) == 2 and losses[1] < losses[0]

    other = tmp_path / "killed"
    other.mkdir()

    class Killed(Exception):
        pass

    kept = learning._keep

    def keep_and_die(*arguments):
        kept(*arguments)
        raise Killed

    monkeypatch.setattr(learning, "_keep", keep_and_die)
    with pytest.raises(Killed):
        learning.train(drawn, CHANNELS, 12, 0, other, said.append)
    monkeypatch.setattr(learning, "_keep", kept)
    resumed = learning.train(drawn, CHANNELS, 12, 0, other, said.append).weights()
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array)


def test_a_training_begins_with_the_network_of_another(tmp_path, drawn):
    folders = [tmp_path / name for name in ("first", "second", "none")]
    for folder in folders:
        folder.mkdir()
    learning.train(drawn, CHANNELS, 1, 0, folders[0], print)
    first = torch.load(folders[0] / learning.CHECKPOINT, weights_only=True)["network"]
    went_on = learning.train(drawn, CHANNELS, 1, 0, folders[1], print, folders[0])
    fresh = learning.train(drawn, CHANNELS, 1, 0, folders[2], print)
    kernel = "convolutions.logits.weight"
    far, near = (
        float((network.state_dict()[kernel] - first[kernel]).abs().sum())
        for network in (went_on, fresh)
    )
    assert far > 0 and near == 0  # the same seed, once from its end and once from its beginning
    with pytest.raises(FileError, match=r"nowhere: holds no checkpoint.pt to start from"):
        learning.train(drawn, CHANNELS, 1, 1, tmp_path, print, tmp_path / "nowhere")


def test_a_checkpoint_of_another_network_is_refused(tmp_path, drawn, monkeypatch):
    monkeypatch.setattr(learning, "KEPT_EVERY", 1)
    learning.train(drawn, CHANNELS, 1, 0, tmp_path, print)
    with pytest.raises(FileError, match=r"checkpoint.pt: is no checkpoint of this training"):
        learning.train(drawn, (8, 8), 1, 0, tmp_path, print)


def test_kept_draws_are_read_or_refused(tmp_path, drawn):
    path = tmp_path / "draws.npz"
    drawn_module.keep_draws(path, drawn)
    for kept, own in zip(drawn_module.read_draws(path, 4), drawn, strict=True):
        np.testing.assert_array_equal(kept, own)
    with pytest.raises(FileError, match="holds 4 draws, not 5; delete it"):
        drawn_module.read_draws(path, 5)
    path.write_bytes(b"no archive")
    with pytest.raises(FileError, match="holds no draws; delete it"):
        drawn_module.read_draws(path, 4)


def test_what_is_changed_is_changed_in_image_and_masks(drawn):
    images, masks = drawn
    x, m = changed(images, masks, np.random.default_rng(0))
    assert x.shape == images.shape and m.shape == masks.shape
    bright = (x > 1).numpy()
    assert dice(bright, m[:, 0].numpy() > 0.5) > 0.97
    assert not np.array_equal(x, images)


def test_the_loss_is_least_where_shares_and_masks_agree():
    masks = (torch.rand(1, 2, 8, 8, 8) < 0.3).float()
    right, wrong = 20 * (2 * masks - 1), 20 * (1 - 2 * masks)
    assert float(loss_of(right, masks)) < 0.01 and float(loss_of(wrong, masks)) > 5


def test_a_head_is_scored_as_it_is_stripped_in_thick_slices_and_flipped(truth):
    forms = {name: (volume, brain, head) for name, volume, brain, head in forms_of(truth)}
    assert list(forms) == ["as it is", "stripped", "6 mm", "flipped"]
    volume, brain, head = forms["stripped"]
    assert np.array_equal(brain, head) and np.ptp(volume.array[~brain]) == 0
    assert forms["6 mm"][0].spacing[2] == pytest.approx(8)
    flipped, brain, _ = forms["flipped"]
    corner = flipped.affine @ [*np.array(flipped.shape) - 1, 1]
    np.testing.assert_allclose(corner, truth.volume.affine[:, 3])
    np.testing.assert_array_equal(brain[::-1, ::-1, ::-1], truth.brain)


def test_scores_are_kept_with_whose_they_are(tmp_path):
    lines = [Line("a", "head T1w", "as it is", 0.9, 0.8, 1.25),
             Line("b", "head T1w", "as it is", 0.8, 1.0, 2.0)]  # fmt: skip
    path = tmp_path / "new/scores.csv"
    write_scores(path, lines, "abc")
    assert read_scores(path, "abc") == lines
    (row,) = rows_of(lines)
    assert row["name"] == "head T1w, as it is" and row["volumes"] == 2
    assert list(row.values())[2:] == [0.85, 0.8, 0.9, 0.8, 2.0]
    with pytest.raises(FileError, match="holds scores of other weights"):
        read_scores(path, "def")
    path.write_text("volume,group\na,b\n")
    with pytest.raises(FileError, match="holds no scores of masks"):
        read_scores(path, "abc")


@pytest.fixture
def data(tmp_path):
    """A folder with a list of two stripped brains, one of them to be scored; and a kept mask."""
    lines = ["\t".join(COLUMNS)]
    for part in ("train", "score"):
        bare = analytic_head((4, 4, 4), skull=False)["T1w"]
        write_volume(bare, tmp_path / f"{part}.nii")
        lines.append(f"{part}\t{part}\t{part}\tbrain\tT1w\t{part}.nii\t\t\tCC0-1.0\tnobody")
    (tmp_path / "list.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_network_is_trained_scored_and_has_its_scores_in_its_card(data, capsys):
    words = [str(data), "--list", str(data / "list.tsv"), "--work", str(data / "work")]
    out = data / "tiny-mask"
    small = ["--draws", "4", "--rounds", "2", "--channels", "8", "4", "--license", "CC0-1.0"]
    assert main(["train-mask", *words, "--out", str(out), "--id", "tiny-mask", *small]) == 0
    package = read_package(out)
    assert package.card.task == "mask" and package.card.license == "CC0-1.0"
    assert "Left out: score." in package.card.trained_on
    assert "Not yet." in package.describe() and "8, 4" in package.describe()
    assert main(["train-mask", *words, "--out", str(out), *small]) == 2
    assert "exists already" in capsys.readouterr().err


def test_scores_of_a_package_come_into_its_card_by_one_command(data, capsys):
    package = threshold_package(data / "tiny-mask", 0.3, 0.3)
    card = json.loads((package.folder / "model.json").read_text())
    card |= {"training": {"draws": 1, "rounds": 1, "seed": 0, "minutes": 1.0, "machine": "none"},
             "attribution": ["nobody"], "limits": "all"}  # fmt: skip
    (package.folder / "model.json").write_text(json.dumps(card))
    (package.folder / "package.sha256").unlink()
    words = [str(data), "--list", str(data / "list.tsv"), "--work", str(data / "work")]
    table = data / "scores.csv"
    folder = str(package.folder)
    assert main(["score-masks", *words, "--model", folder, "--csv", str(table)]) == 0
    assert "| brain T1w, as it is | 1 |" in capsys.readouterr().out
    assert main(["card", folder, "--scores", str(table)]) == 0
    found = read_package(package.folder)
    (entry,) = found.card.scores
    row = entry["rows"][0]
    assert row["name"] == "brain T1w, as it is" and row["brain"] > 0.9
    assert "| brain T1w, as it is | 1 |" in found.describe()
