"""A model package: every damaged, hostile or unfit one is refused, and nothing in it is run."""

import hashlib
import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import Bomb
from safetensors.numpy import save

from MambaSynthLib.backends import torch_backend
from MambaSynthLib.errors import ModelError
from MambaSynthLib.model.card import WEIGHTS
from MambaSynthLib.model.package import CARD, README, SEAL, read_package


def resealed(folder: Path, data: bytes) -> Path:
    """Other weights, and a card that vouches for them: what an attacker would hand out."""
    (folder / WEIGHTS).write_bytes(data)
    card = json.loads((folder / CARD).read_text())
    card["files"][WEIGHTS] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / CARD).write_text(json.dumps(card))
    (folder / SEAL).unlink(missing_ok=True)
    return folder


@pytest.fixture
def folder(tmp_path, make_package):
    return make_package(tmp_path / "tiny").folder


def test_a_written_package_reads_back(folder, tiny_weights):
    package = read_package(folder)
    assert package.card.id == "tiny-t1w-t2w" and package.describe() == "# A tiny model\n"
    weights = package.read_weights()
    assert weights.keys() == tiny_weights.keys()
    assert all(np.array_equal(weights[name], tiny_weights[name]) for name in weights)
    assert sorted(p.name for p in folder.parent.iterdir() if p.is_dir()) == ["tiny"]


@pytest.mark.parametrize("where", [0.0, 1e-5, 0.001, 0.05, 0.2, 0.5, 0.77, 0.99, 1.0])
@pytest.mark.parametrize("bit", [0, 7])
def test_one_flipped_bit_anywhere_in_the_weights_is_noticed(where, bit, folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[round(where * (len(data) - 1))] ^= 1 << bit
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(ModelError, match=r"weights\.safetensors: its sha256 is .* install"):
        read_package(folder).read_weights()


@pytest.mark.parametrize("kept", [0, 1, 8, 100, 0.5, -1])
def test_truncated_weights_are_refused_even_where_the_card_vouches_for_them(kept, folder):
    data = (folder / WEIGHTS).read_bytes()
    data = data[: round(kept * len(data)) if isinstance(kept, float) else kept]
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(ModelError, match=r"p/weights|tiny/weights") as caught:
        read_package(folder).read_weights()
    said = "is empty" if not data else f"holds {len(data)} bytes, but model.json says "
    assert said in str(caught.value)
    if data:
        with pytest.raises(ModelError, match="no valid safetensors file"):
            read_package(resealed(folder, data)).read_weights()


@pytest.mark.parametrize("missing", ["gone", "folder", "loop"])
def test_weights_that_are_no_file_are_refused(missing, folder):
    path = folder / WEIGHTS
    path.unlink()
    if missing == "folder":
        path.mkdir()
    elif missing == "loop":
        path.symlink_to(path)
    with pytest.raises(ModelError, match=r"weights\.safetensors: cannot be read \(.+\); install"):
        read_package(folder).read_weights()


@pytest.mark.parametrize("kind", ["pickle", "torch", "npz"])
def test_a_pickle_under_the_name_of_the_weights_never_runs(kind, folder, tmp_path):
    trap = tmp_path / "executed"
    source = tmp_path / "hostile"
    if kind == "pickle":
        source.write_bytes(pickle.dumps({"conv1.weight": Bomb(trap)}))
    elif kind == "torch":
        torch.save({"conv1.weight": Bomb(trap)}, source)
    else:
        with source.open("wb") as stream:
            np.savez(stream, weights=np.array([Bomb(trap)], dtype=object))
    with pytest.raises(ModelError, match="no valid safetensors file"):
        read_package(resealed(folder, source.read_bytes())).read_weights()
    assert not trap.exists()


def header(text, data=b"", length=None):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype="F32", shape=(1,), begin=0, end=4):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "data",
    [
        header(b"{}", length=2**63),
        header(b"{}", length=2**64 - 1),
        header(b"{}", length=200 * 2**20),
        header({"a": tensor(end=8)}, b"1234"),
        header({"a": tensor(begin=4, end=8)}, b"12345678"),
        header({"a": tensor()}, b"12345678"),
        header({"a": tensor(), "b": tensor()}, b"1234"),
        header({"a": tensor(shape=(2**32, 2**32))}, b"1234"),
        header({"a": tensor(shape=(-1,))}, b"1234"),
        header({"a": tensor("X9")}, b"1234"),
        header(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b""),
        header(b"[1, 2]", b""),
        header(b"\xff\xfe\xfd", b""),
        b"<!DOCTYPE html><html>sign in to the hospital network</html>",
    ],
)
def test_a_hostile_safetensors_file_is_refused(data, folder):
    with pytest.raises(ModelError, match="no valid safetensors file"):
        read_package(resealed(folder, data)).read_weights()


@pytest.mark.parametrize("dtype", ["F64", "BF16", "F8_E4M3", "BOOL", "I32", "U8", "C64"])
def test_a_dtype_that_no_package_has_is_refused_by_name(dtype, folder):
    size = {"F64": 8, "BF16": 2, "F8_E4M3": 1, "BOOL": 1, "I32": 4, "U8": 1, "C64": 8}[dtype]
    data = header({"a": tensor(dtype, end=size)}, b"\1" * size)
    with pytest.raises(ModelError, match="a holds|no valid safetensors"):
        read_package(resealed(folder, data)).read_weights()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_weight_that_is_no_number_is_refused_by_name(value, dtype, folder, tiny_weights):
    weights = {name: array.copy() for name, array in tiny_weights.items()}
    weights["conv2.bias"] = weights["conv2.bias"].astype(dtype)
    weights["conv2.bias"][3] = value
    with pytest.raises(ModelError, match=r"conv2\.bias holds NaN or infinity"):
        read_package(resealed(folder, save(weights))).read_weights()


def edited(weights, key, change):
    weights = dict(weights)
    if change is None:
        del weights[key]
    else:
        weights[key] = change
    return weights


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("conv2.bias", None, r"conv2\.bias is missing"),
        ("extra.weight", np.zeros(3, np.float32), r"extra\.weight is left over"),
        ("conv2.bias", np.zeros(9, np.float32), r"conv2\.bias has shape \(9,\) instead of \(8,\)"),
        ("conv2.bias", np.zeros(8, np.int64), r"conv2\.bias holds int64 values instead of"),
    ],
)
def test_weights_of_another_network_are_refused_naming_the_key(
    key, change, said, folder, tiny_weights
):
    resealed(folder, save(edited(tiny_weights, key, change)))
    with pytest.raises(ModelError, match=said):
        torch_backend.load_network(read_package(folder), "cpu")


def test_no_weights_at_all_are_refused(folder):
    with pytest.raises(ModelError, match="is missing"):
        torch_backend.load_network(read_package(resealed(folder, save({}))), "cpu")


def test_a_method_of_the_future_is_refused(tmp_path, make_package):
    with pytest.raises(ModelError, match=r"needs the method 'clairvoyance'.*update"):
        make_package(tmp_path / "p", method="clairvoyance")
    with pytest.raises(ModelError, match="needs the method") as told:
        make_package(tmp_path / "q", method="x" * 5000)
    assert len(str(told.value)) < 300


def test_half_precision_weights_give_nearly_the_same_network(tmp_path, make_package, tiny_weights):
    half = {
        n: a.astype(np.float16) if a.dtype == np.float32 else a for n, a in tiny_weights.items()
    }
    images = np.random.default_rng(0).normal(size=(1, 2, 16, 16)).astype(np.float32)
    results = [
        torch_backend.load_network(make_package(tmp_path / name, weights), "cpu")(images)
        for name, weights in (("full", tiny_weights), ("half", half))
    ]
    assert results[1].dtype == np.float32
    np.testing.assert_allclose(results[1], results[0], atol=0.02)


@pytest.mark.parametrize("what", ["missing", "empty folder", "file", "not utf-8", "too large"])
def test_a_folder_that_is_no_package_is_refused(what, tmp_path):
    folder = tmp_path / "p"
    if what == "file":
        folder.write_text("x")
    elif what != "missing":
        folder.mkdir()
    if what == "not utf-8":
        (folder / CARD).write_bytes(b'{"id": "\xff"}')
    if what == "too large":
        (folder / CARD).write_bytes(b" " * (4 * 2**20 + 1))
    with pytest.raises(ModelError, match="^p(/model.json)?: ") as caught:
        read_package(folder)
    assert str(tmp_path) not in str(caught.value), "the folders above may name a person"


@pytest.mark.skipif(os.name != "posix", reason="makes a pipe")
@pytest.mark.timeout(20)
@pytest.mark.parametrize("file", [CARD, WEIGHTS, SEAL, README])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(file, folder):
    (folder / file).unlink()
    os.mkfifo(folder / file)
    with pytest.raises(ModelError, match="is a pipe or a device"):
        package = read_package(folder)
        package.read_weights(), package.describe()


@pytest.mark.parametrize("file", [CARD, SEAL, README])
def test_a_text_without_end_is_not_read_to_its_end(file, folder):
    os.truncate(folder / file, 2**40)
    with pytest.raises(ModelError, match=f"tiny/{file}: is larger than 4194304 bytes"):
        read_package(folder).describe()


def test_a_card_that_was_changed_since_it_was_written_is_refused(folder):
    assert (folder / SEAL).read_text() == read_package(folder).sha256 + "\n"
    card = (folder / CARD).read_text()
    (folder / CARD).write_text(card.replace("1000.0", "5.0"))
    with pytest.raises(ModelError, match=r"^tiny/model.json: its sha256 is .* says .* damaged"):
        read_package(folder)
    (folder / CARD).write_text(card.replace("\n", "\n\n"))  # says the same
    read_package(folder)
    (folder / SEAL).write_text("nonsense")
    with pytest.raises(ModelError, match="package.sha256 says 'nonsense'"):
        read_package(folder)
    (folder / SEAL).unlink()  # as in packages of earlier versions
    read_package(folder)


def test_weights_larger_than_the_card_says_are_not_read(folder):
    os.truncate(folder / WEIGHTS, 2**40)  # a hole; reading it would take all memory
    with pytest.raises(ModelError, match=f"holds {2**40} bytes, but model.json says"):
        read_package(folder).read_weights()


def rewritten(folder, change, **layout):
    card = json.loads((folder / CARD).read_text())
    change(card)
    (folder / CARD).write_text(json.dumps(card, **layout))
    (folder / SEAL).unlink(missing_ok=True)
    return read_package(folder).sha256


def test_the_hash_of_a_package_is_that_of_what_its_card_says(folder):
    def reorder(card):
        for key in sorted(card):
            card[key] = card.pop(key)
        card["intensity"]["target_range"] = [0, 1000]

    sha256 = read_package(folder).sha256
    assert len(sha256) == 64 and sha256 == rewritten(folder, reorder, indent=7)
    for change in (
        lambda card: card["intensity"].update(target_range=[0, 5]),
        lambda card: card.update(title="Another title"),
        lambda card: card["files"][WEIGHTS].update(sha256="1" * 64),
    ):
        before, sha256 = sha256, rewritten(folder, change)
        assert sha256 != before
