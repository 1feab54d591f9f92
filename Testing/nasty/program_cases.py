"""Options of the command, and model packages that are damaged, hostile or for something else."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from MambaSynthLib.model.card import WEIGHTS
from MambaSynthLib.model.package import CARD, README, SEAL
from Testing.library.hostile import Bomb
from Testing.library.image_files import nifti_file
from Testing.model_packages import contrast_card, random_package
from Testing.nasty.case import REFUSED, Case

Damage = Callable[[Path], Any]  # of the folder of a good package


def head(folder: Path) -> Path:
    return nifti_file(folder / "x.nii")


# ---- options -------------------------------------------------------------------------------------


def option(*words: str, what: str = "") -> Case:
    return Case("options", what or " ".join(words)[:60], head, REFUSED, options=words, rivals=False)


def output(what: str, name: str, prepare: Callable[[Path], Any] = lambda folder: None) -> Case:
    def make(folder: Path) -> Path:
        prepare(folder)
        return head(folder)

    return Case("options", what, make, REFUSED, options=("-o", "{folder}/" + name), rivals=False)


def _options() -> list[Case]:
    numbers = [("--steps", value) for value in ("0", "-1", "1000000000", "two", "9" * 5000)]
    numbers += [("--seed", "-1"), ("--seed", str(2**64)), ("--batch", "0"), ("--samples", "65")]
    numbers += [("--slices", value) for value in ("banana", "5:5", "0:99", "²:³")]
    return [
        *(option(*words, what=f"{words[0]} {words[1][:20]}") for words in numbers),
        option("--stepz", "3"),
        option("--steps", what="--steps without a number"),
        option("--device", "cuda:99"),
        option("--device", "quantum"),
        option("--from", "T2w"),
        option("--model", "nothing-like-it"),
        option("--reference", "r.nii"),
        output("an output that is there", "there.nii", lambda f: (f / "there.nii").touch()),
        output("an output that is the input", "x.nii"),
        output("the same by a hard link", "hard.nii", _hard_link),
        output("an output in a folder that is not there", "gone/o.nii"),
        output("an output in a file", "x.nii/o.nii"),
        output("an output of an unknown format", "o.xyz"),
        output("an output of a name of 300 letters", "n" * 300 + ".nii"),
        output("an output that is a folder", "o.nii", lambda f: (f / "o.nii").mkdir()),
    ]  # fmt: skip


def _hard_link(folder: Path) -> None:
    os.link(head(folder), folder / "hard.nii")


# ---- packages ------------------------------------------------------------------------------------


def package(what: str, damage: Damage) -> Case:
    """Synthesis with a package that was good before the ``damage``."""

    def make(folder: Path) -> Path:
        damage(random_package(folder / "package", contrast_card()).folder)
        return head(folder)

    options = ("--model", "{folder}/package")
    return Case("model package", what, make, REFUSED, options=options, rivals=False)


def resealed(change: Callable[[bytes], bytes]) -> Damage:
    """Other weights, and a card that vouches for them: what an attacker would hand out."""

    def damage(folder: Path) -> None:
        data = change((folder / WEIGHTS).read_bytes())
        (folder / WEIGHTS).write_bytes(data)
        card = json.loads((folder / CARD).read_text())
        card["files"][WEIGHTS] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        (folder / CARD).write_text(json.dumps(card))
        (folder / SEAL).unlink()

    return damage


def weights(change: Callable[[bytes], bytes]) -> Damage:
    return lambda folder: (folder / WEIGHTS).write_bytes(change((folder / WEIGHTS).read_bytes()))


def card(change: Callable[[str], str]) -> Damage:
    def damage(folder: Path) -> None:
        (folder / CARD).write_text(change((folder / CARD).read_text()))
        (folder / SEAL).unlink()

    return damage


def in_place(file: str, create: Callable[[Path], Any]) -> Damage:
    def damage(folder: Path) -> None:
        (folder / file).unlink()
        create(folder / file)

    return damage


def header(text: Any, data: bytes = b"", length: int | None = None) -> Callable[[bytes], bytes]:
    """A safetensors file of our making."""
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    made = struct.pack("<Q", len(text) if length is None else length) + text + data
    return lambda _: made


def tensor(dtype: str = "F32", shape: tuple[int, ...] = (1,), end: int = 4) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": [0, end]}}


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    """Other tensors in a file that is sound."""

    def made(data: bytes) -> bytes:
        arrays = {name: array.copy() for name, array in load(data).items()}
        change(arrays)
        return save(arrays)

    return made


def _flip(data: bytes) -> bytes:
    broken = bytearray(data)
    broken[len(data) // 2] ^= 4
    return bytes(broken)


def _packages() -> list[Case]:
    hostile = pickle.dumps({"conv1.weight": Bomb("executed")})
    deep = b'{"a":' * 10_000 + b"1" + b"}" * 10_000
    return [
        package("a bit flipped in the weights", weights(_flip)),
        package("weights cut in half", weights(lambda data: data[: len(data) // 2])),
        package("empty weights", weights(lambda data: b"")),
        package("no weights", lambda folder: (folder / WEIGHTS).unlink()),
        package("a terabyte of weights", lambda folder: os.truncate(folder / WEIGHTS, 2**40)),
        package("a pipe for weights", in_place(WEIGHTS, os.mkfifo)),
        package("a pipe for a card", in_place(CARD, os.mkfifo)),
        package("a pickle, vouched for", resealed(lambda data: hostile)),
        package("a header of 2^63 bytes", resealed(header(b"{}", length=2**63))),
        package("a header nested 10,000 deep", resealed(header(deep))),
        package("a tensor beyond the end", resealed(header(tensor(end=8), b"1234"))),
        package("a tensor of 2^64 values", resealed(header(tensor(shape=(2**32, 2**32)), b"1234"))),
        package("a tensor of complex values", resealed(header(tensor("C64", end=8), b"12345678"))),
        package("a tensor too few", resealed(edited(lambda a: a.pop("conv2.bias")))),
        package("a tensor too many", resealed(edited(lambda a: a.update(x=np.zeros(3, "f4"))))),
        package("a tensor of another shape",
                resealed(edited(lambda a: a.update({"conv2.bias": np.zeros(9, "f4")})))),
        package("a weight that is NaN", resealed(edited(lambda a: a["conv2.bias"].fill(np.nan)))),
        package("no tensors", resealed(edited(lambda a: a.clear()))),
        package("a card that is no JSON", card(lambda text: "{")),
        package("a card of nothing", card(lambda text: "{}")),
        package("a card with a key twice", card(lambda t: t.replace('"id":', '"id": "x", "id":'))),
        package("a card with 1e400", card(lambda t: t.replace("1000.0", "1e400"))),
        package("a card with NaN", card(lambda t: t.replace("1000.0", "NaN"))),
        package("a card nested 100,000 deep", card(lambda t: "[" * 100_000)),
        package("a card with an unknown key", card(lambda t: t.replace('"id":', '"_target_": "os.'
                                                   'system", "id":', 1))),
        package("a card of a newer format", card(lambda t: t.replace('t": 1', 't": 9'))),
        package("a card of an unknown method", card(lambda t: t.replace("cravim", "clairvoyance"))),
        package("a card that was changed since", lambda folder: (folder / CARD).write_text(
            (folder / CARD).read_text().replace("1000.0", "5.0"))),
        package("a card for another contrast", card(lambda t: t.replace('"T2w"', '"FLAIR"'))),
        package("a card for cines", card(lambda t: t.replace('"cravim"', '"mstg"'))),
        package("a seal of nonsense", lambda folder: (folder / SEAL).write_text("nonsense")),
    ]  # fmt: skip


def archive(what: str, fill: Callable[[zipfile.ZipFile, Path], Any]) -> Case:
    """``models import`` of a zip file."""

    def make(folder: Path) -> Path:
        good = random_package(folder / "good", contrast_card(id="imported")).folder
        with zipfile.ZipFile(folder / "p.zip", "w", zipfile.ZIP_DEFLATED) as stream:
            for file in (CARD, SEAL, README, WEIGHTS):
                if what != "a zip without a card" or file != CARD:
                    stream.write(good / file, f"p/{file}")
            fill(stream, good)
        return folder / "p.zip"

    return Case("model package", what, make, REFUSED, rivals=False, command="models import")


def _link_in(stream: zipfile.ZipFile, good: Path) -> None:
    entry = zipfile.ZipInfo("p/link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    stream.writestr(entry, "/etc/hostname")


def _archives() -> list[Case]:
    return [
        archive("a zip that climbs out", lambda z, good: z.writestr("../out", "x")),
        archive("a zip with an absolute name", lambda z, good: z.writestr("/out", "x")),
        archive("a zip with a drive", lambda z, good: z.writestr("C:\\out", "x")),
        archive("a zip with a link", _link_in),
        archive("a zip with a name twice", lambda z, good: z.writestr("p//" + CARD, "{}")),
        archive("a zip of 1,100 entries",
                lambda z, good: [z.writestr(f"p/{n}", "") for n in range(1100)]),
        archive("a zip without a card", lambda z, good: None),
        archive("a zip with two cards", lambda z, good: z.writestr("q/" + CARD, "{}")),
    ]  # fmt: skip


def cases() -> list[Case]:
    return [*_options(), *_packages(), *_archives()]
