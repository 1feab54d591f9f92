"""Published checkpoints and package folders become installed packages, or nothing does."""

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import Bomb

from MambaSynthLib.backends import torch_backend
from MambaSynthLib.engine import Engine, Request, slice_noise
from MambaSynthLib.errors import FileError, ModelError, RequestError, WouldReplace
from MambaSynthLib.install import checkpoints
from MambaSynthLib.install.checkpoints import import_checkpoint
from MambaSynthLib.install.importing import import_folder
from MambaSynthLib.methods.cravim.network import build
from MambaSynthLib.model.package import CARD
from MambaSynthLib.model.registry import find_model, user_models

PUBLISHED = re.compile(r"^(\S+)\t\(([\d, ]*)\)\t(float32|int64)$", re.MULTILINE)


def installed(path, **options):
    return import_checkpoint(path, **{"source_contrast": "T1w", "target_contrast": "T2w"} | options)


@pytest.fixture
def state(tiny_weights):
    """A state dict as the published training saves it: names and tensors, nothing else."""
    return {name: torch.from_numpy(array.copy()) for name, array in tiny_weights.items()}


@pytest.fixture
def checkpoint(state, tmp_path):
    path = tmp_path / "netG_A2B_100.pth"
    torch.save(state, path)
    return path


def test_an_imported_checkpoint_synthesizes_what_its_network_says(checkpoint, card, state, head):
    package = installed(checkpoint, size=(16, 16))
    assert package.folder == user_models() / "netg_a2b_100-t1w-t2w"
    assert find_model("netg_a2b_100-t1w-t2w").card.direction == "T1w -> T2w"
    synthesis = Engine(package, "cpu").synthesize({"T1w": head}, steps=1, seed=5)

    network = build(card["network"]).eval()
    network.load_state_dict(state)
    # By hand: LPS slices of the RAS head, its own pixels centered on 16 x 16, scaled to [-1,1].
    tissue = head.array[head.array > 52]
    top = np.percentile(tissue, 99.5)
    scaled = np.clip(2 * head.array.astype(float) / top - 1, -1, 1).astype(np.float32)
    content = np.argwhere(head.array[::-1, ::-1] > 0)
    request = Request(1, 1, 5, "per-slice", None, 1)
    for k in (3, 5):
        low, high = content.min(0)[:2], content.max(0)[:2] + 1
        canvas = np.full((16, 16), -1, np.float32)
        (left, back), (width, height) = (16 - (high - low)) // 2, high - low
        cut = scaled[::-1, ::-1, k][low[0] : high[0], low[1] : high[1]].T
        canvas[back : back + height, left : left + width] = cut
        noise = slice_noise(request, k, (16, 16))[0, 0]
        with torch.inference_mode():
            answer = network(torch.from_numpy(np.stack([canvas, noise])[None]))[0, 1].numpy()
        expected = np.clip(answer[back : back + height, left : left + width], -1, 1).T
        found = synthesis.volumes["T2w"].array[::-1, ::-1, k][low[0] : high[0], low[1] : high[1]]
        inside = (head.array[::-1, ::-1, k] > 0)[low[0] : high[0], low[1] : high[1]]
        np.testing.assert_allclose(found[inside], (expected * 500 + 500)[inside], atol=0.05)


@pytest.mark.timeout(120)
def test_a_checkpoint_of_the_published_size_and_keys_is_imported(parity, tmp_path):
    listing = (parity / "cravim_state_dict.txt").read_text().split("cnns.")[0]
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, shape, dtype in PUBLISHED.findall(listing):
        sizes = [int(n) for n in shape.split(",") if n.strip()]
        values = torch.rand(sizes, generator=generator) if dtype == "float32" else torch.tensor(7)
        state[name] = values.to(getattr(torch, dtype))
    assert len(state) == 114 and sum(v.numel() for k, v in state.items()) > 11_765_711
    torch.save(state, tmp_path / "netG_A2B_100.pth")
    package = installed(tmp_path / "netG_A2B_100.pth", folder=tmp_path / "full")
    assert package.card.network == {
        "ngf": 64, "n_blocks": 7, "n_attentions": 5, "input_channels": 2, "output_channels": 2
    }  # fmt: skip
    assert np.array_equal(package.read_weights()["VSS2.1.op.A_logs"], state["VSS2.1.op.A_logs"])


def test_what_the_command_line_names_is_in_the_card(checkpoint, tmp_path):
    package = installed(
        checkpoint, folder=tmp_path / "p", model_id="mine", title="Mine", license="MIT",
        trained_on="twelve heads", in_plane_spacing_mm=0.9, size=(64, 96), source_contrast="PDw",
    )  # fmt: skip
    card = package.card
    assert (card.id, card.title, card.license, card.trained_on) == (
        "mine", "Mine", "MIT", "twelve heads",
    )  # fmt: skip
    assert card.grid.in_plane_spacing_mm == 0.9 and card.grid.size == (64, 96)
    assert card.direction == "PDw -> T2w" and "twelve heads" in package.describe()


@pytest.mark.parametrize("name", ["Über netG (1).pth", "_-.x.pth", "a" * 120 + ".pth", "模型.pth"])
def test_any_file_name_gives_a_usable_model_id(name, checkpoint):
    package = installed(checkpoint.rename(checkpoint.with_name(name)))
    assert find_model(package.card.id).folder == package.folder


@pytest.mark.parametrize("target", [None, ""])
def test_without_a_target_contrast_a_checkpoint_says_too_little(target, checkpoint):
    with pytest.raises(RequestError, match="netG_A2B_100.pth: .*add --to T2w"):
        installed(checkpoint, target_contrast=target)


@pytest.mark.parametrize(
    "options",
    [{"target_contrast": "T2 w"}, {"model_id": "../x"}, {"size": (10, 10)}, {"license": ""},
     {"in_plane_spacing_mm": float("nan")}, {"in_plane_spacing_mm": -1.0}],
)  # fmt: skip
def test_an_option_that_no_card_can_hold_is_refused_and_nothing_installed(options, checkpoint):
    with pytest.raises(ModelError):
        installed(checkpoint, **options)
    assert not user_models().exists() or not list(user_models().iterdir())


@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle"])
def test_a_hostile_pickle_is_refused_and_not_executed(form, tmp_path, state):
    trap, path = tmp_path / "executed", tmp_path / "netG.pth"
    hostile = state | {"conv1.weight": Bomb(trap)}
    if form == "bare pickle":
        path.write_bytes(pickle.dumps({"conv1.weight": Bomb(trap)}))
    else:
        torch.save(hostile, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ModelError, match=r"netG\.pth: is no plain PyTorch checkpoint") as caught:
        installed(path)
    assert not trap.exists() and "\n" not in str(caught.value)
    assert not user_models().exists()


def test_a_pickle_is_a_threat_that_this_test_could_notice(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed")))  # noqa: S301
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content",
    [[1, 2], "text", 5, None, {"state_dict": {}}, {1: torch.zeros(2)}, torch.zeros(3),
     {"epoch": 3, "conv1.weight": torch.zeros(2)}],
)  # fmt: skip
def test_what_is_no_state_dict_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=r"x\.pth: is no state dict"):
        installed(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 500, b"PK\x03\x04broken", b"<html>404</html>", os.urandom(2000)]
)
def test_what_is_no_checkpoint_is_refused(content, tmp_path):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.pth: is no plain PyTorch checkpoint \(\w+\)"):
        installed(tmp_path / "x.pth")


def test_a_truncated_checkpoint_is_refused(checkpoint):
    data = checkpoint.read_bytes()
    for kept in (100, len(data) // 2, len(data) - 1):
        checkpoint.write_bytes(data[:kept])
        with pytest.raises(ModelError, match="no plain PyTorch checkpoint"):
            installed(checkpoint)


def test_a_path_that_is_no_file_is_refused_at_once(tmp_path):
    with pytest.raises(ModelError, match="missing.pth: cannot be read"):
        installed(tmp_path / "missing.pth")
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(ModelError, match="pipe.pth: is no file"):
        installed(tmp_path / "pipe.pth")
    with pytest.raises(ModelError, match="is no file"):
        installed(tmp_path)


def changed(state, key, value):
    if value is None:
        del state[key]
    else:
        state[key] = value
    return state


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("conv1.weight", None, "no CRAViM generator"),
        ("conv1.weight", torch.tensor(1.0), "no CRAViM generator"),
        ("conv1.weight", torch.zeros(5), "no CRAViM generator|does not describe"),
        ("conv2.bias", None, r"conv2\.bias is missing"),
        ("conv2.bias", torch.zeros(9), r"conv2\.bias has shape"),
        ("conv2.bias", torch.full((8,), torch.nan), r"conv2\.bias holds NaN"),
        ("conv2.bias", torch.zeros(8, dtype=torch.float64), r"conv2\.bias holds float64"),
        ("conv2.bias", torch.zeros(8, dtype=torch.bfloat16), "NumPy does not know"),
        ("conv2.bias", torch.zeros(8).to_sparse(), "no plain|NumPy does not know|no state dict"),
        ("conv2.bias", torch.zeros(1).expand(2**40), "larger than the file"),
        ("more", torch.zeros(2), "more is left over"),
        ("resnet_blocks.x.conv1.weight", torch.zeros(2), "no CRAViM generator"),
        ("resnet_blocks.999999999.conv1.weight", torch.zeros(2), "n_blocks is 1000000000"),
        ("deconv3_attention.weight", torch.zeros(0, 4, 1, 1), "are empty"),
    ],
)
def test_a_state_dict_of_another_network_is_refused_and_nothing_installed(
    key, value, said, state, tmp_path
):
    torch.save(changed(state, key, value), tmp_path / "x.pth")
    with pytest.raises(ModelError, match=said):
        installed(tmp_path / "x.pth")
    assert not user_models().exists() or not list(user_models().iterdir())


def test_parameters_that_still_want_gradients_are_imported(state, tmp_path):
    state = {
        name: torch.nn.Parameter(value) if value.is_floating_point() else value
        for name, value in state.items()
    }
    torch.save(state, tmp_path / "x.pth")
    assert installed(tmp_path / "x.pth").card.network["ngf"] == 4


def test_a_second_import_does_not_replace_the_first(checkpoint):
    first = installed(checkpoint)
    with pytest.raises(ModelError, match="exists already"):
        installed(checkpoint)
    assert first.read_weights()


def test_a_package_folder_is_copied_into_the_users_models(tiny_package):
    package = import_folder(tiny_package.folder)
    assert package.folder == user_models() / "tiny-t1w-t2w" and package.card == tiny_package.card
    assert package.describe() == tiny_package.describe()
    with pytest.raises(ModelError, match="exists already"):
        import_folder(tiny_package.folder)


def test_another_version_replaces_the_installed_one_only_when_told_to(make_package, tmp_path):
    import_folder(make_package(tmp_path / "old", version="1.0.0").folder)
    newer = make_package(tmp_path / "new", version="2.0.0")
    with pytest.raises(WouldReplace, match=r"as version 1\.0\.0 .*; this is version 2\.0\.0"):
        import_folder(newer.folder)
    assert find_model("tiny-t1w-t2w").card.version == "1.0.0"
    assert import_folder(newer.folder, replace=True).sha256 == newer.sha256
    assert find_model("tiny-t1w-t2w").card.version == "2.0.0"
    with pytest.raises(ModelError, match="exists already"):
        import_folder(newer.folder, replace=True)  # the same to the byte
    assert [path.name for path in user_models().iterdir()] == ["tiny-t1w-t2w"]


@pytest.mark.parametrize("end", ["damaged", "interrupted", "no room"])
def test_an_update_that_fails_leaves_the_installed_version(
    end, make_package, tmp_path, monkeypatch
):
    import_folder(make_package(tmp_path / "old", version="1.0.0").folder)
    newer = make_package(tmp_path / "new", version="2.0.0").folder

    def stop(done, total):
        if end == "interrupted" and done == 2:
            raise KeyboardInterrupt

    if end == "damaged":
        (newer / "weights.safetensors").write_bytes(b"x")
    if end == "no room":
        renamed = Path.rename

        def rename(path, target):
            if path.name.startswith(".") and Path(target).name == "tiny-t1w-t2w":
                if path.joinpath(CARD).read_text().count("2.0.0"):
                    raise OSError(28, "No space left on device")
            return renamed(path, target)

        monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises((ModelError, FileError, KeyboardInterrupt)):
        import_folder(newer, replace=True, progress=stop)
    assert find_model("tiny-t1w-t2w").card.version == "1.0.0"
    assert [path.name for path in user_models().iterdir()] == ["tiny-t1w-t2w"]


@pytest.mark.parametrize("damage", ["card", "bit", "weights gone", "no folder", "other network"])
def test_a_damaged_package_folder_is_not_installed(damage, tmp_path, make_package, card):
    folder = make_package(tmp_path / "p", network=card["network"] | {"n_blocks": 1}).folder
    weights = folder / "weights.safetensors"
    if damage == "card":
        (folder / CARD).write_text("{}")
    elif damage == "bit":
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    elif damage == "weights gone":
        weights.unlink()
    elif damage == "no folder":
        folder = tmp_path / "q"
    else:
        folder = make_package(tmp_path / "r", network=card["network"] | {"n_blocks": 2}).folder
    with pytest.raises(ModelError):
        import_folder(folder)
    assert not user_models().exists() or not list(user_models().iterdir())


def test_an_interrupt_while_loading_takes_the_new_package_back(checkpoint, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch_backend, "load_network", interrupt)
    with pytest.raises(KeyboardInterrupt):
        installed(checkpoint)
    assert list(Path(user_models()).iterdir()) == [] and checkpoints.INTENDED_USE
