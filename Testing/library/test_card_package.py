"""A model package is exactly what its card says, or it is refused; nothing in it ever runs."""

import hashlib
import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from MambaSynthLib import package as package_module
from MambaSynthLib.backends import torch_backend
from MambaSynthLib.card import WEIGHTS, parse_card
from MambaSynthLib.diffusion import posterior
from MambaSynthLib.errors import ModelError
from MambaSynthLib.package import CARD, read_package, schema, shipped_models, write_package

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


# --- the package folder ---------------------------------------------------------------------------


def resealed(folder: Path, data: bytes) -> Path:
    """Other weights, and a card that vouches for them: what an attacker would hand out."""
    (folder / WEIGHTS).write_bytes(data)
    card = json.loads((folder / CARD).read_text())
    card["files"][WEIGHTS] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / CARD).write_text(json.dumps(card))
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
    with pytest.raises(ModelError, match="sha256"):
        read_package(folder).read_weights()
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


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


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
    package = make_package(tmp_path / "p", method="clairvoyance")
    with pytest.raises(ModelError, match=r"needs the method 'clairvoyance'.*update"):
        torch_backend.load_network(package, "cpu")


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
    with pytest.raises(ModelError, match=str(folder)):
        read_package(folder)


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("existing", ["folder", "file", "dangling link"])
def test_a_folder_that_exists_is_not_replaced(existing, tmp_path, make_package):
    folder = tmp_path / "p"
    if existing == "folder":
        folder.mkdir()
    elif existing == "file":
        folder.write_text("mine")
    else:
        folder.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"p: exists already"):
        make_package(folder)
    assert os.path.lexists(folder) and (existing != "file" or folder.read_text() == "mine")


@pytest.mark.parametrize("failing", [WEIGHTS, CARD, "README.md", "rename", "interrupt"])
def test_a_failure_in_the_middle_of_writing_leaves_nothing(
    failing, tmp_path, make_package, monkeypatch
):
    def refuse(self, *args, **kwargs):
        if failing == "rename" or self.name == failing:
            raise OSError(28, "No space left on device")
        if failing == "interrupt":
            raise KeyboardInterrupt
        return original[0](self, *args, **kwargs)

    name = {WEIGHTS: "write_bytes", "rename": "rename", "interrupt": "write_bytes"}.get(
        failing, "write_text"
    )
    original = [getattr(Path, name)]
    monkeypatch.setattr(Path, name, refuse)
    home = tmp_path / "home"
    with pytest.raises((ModelError, KeyboardInterrupt), match="No space left|^$"):
        make_package(home / "p")
    assert list(home.iterdir()) == []


def test_a_package_cannot_be_written_where_a_file_is_in_the_way(tmp_path, make_package):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match=r"cannot be written \(.+\)"):
        make_package(tmp_path / "file" / "p")


def test_a_card_that_breaks_the_schema_is_not_written(tmp_path, make_package, card, tiny_weights):
    with pytest.raises(ModelError, match="does not describe a model package"):
        make_package(tmp_path / "p", id="../p")
    with pytest.raises(ModelError, match="NaN"):
        write_package(tmp_path / "p", card | {"training": {"rate": float("nan")}}, tiny_weights, "")
    assert not (tmp_path / "p").exists()


def test_the_same_weights_give_the_same_bytes(tmp_path, make_package):
    first, second = make_package(tmp_path / "a"), make_package(tmp_path / "b")
    assert first.weights_sha256 == second.weights_sha256
    assert (first.folder / CARD).read_bytes() == (second.folder / CARD).read_bytes()


def test_arrays_of_any_memory_layout_are_written_as_they_read(tmp_path, make_package, tiny_weights):
    weights = {n: np.array(a, order="F") for n, a in tiny_weights.items()}
    package = make_package(tmp_path / "p", weights)
    read = load((package.folder / WEIGHTS).read_bytes())
    assert all(np.array_equal(read[n], tiny_weights[n]) for n in tiny_weights)


def test_every_shipped_package_is_sound():
    folders = sorted(path.parent for path in shipped_models().glob(f"*/{CARD}"))
    if not folders:
        pytest.skip("models/ holds no package yet")
    for folder in folders:
        package = read_package(folder)
        assert package.card.id == folder.name and package.describe()
        assert json.loads((folder / CARD).read_text())["files"][WEIGHTS]["bytes"] == (
            (folder / WEIGHTS).stat().st_size
        )
        torch_backend.load_network(package, "cpu")


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
