"""Our command on a nasty input: what it said, what it wrote, and whether that is right."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from MambaSynthLib.cli import main
from MambaSynthLib.gate import admission
from MambaSynthLib.gate.verdict import Verdict
from MambaSynthLib.io.files import read_marks, read_volume
from MambaSynthLib.io.marks import read_record, sidecar_of
from MambaSynthLib.io.payload import shown
from Testing.library.cine_hearts import random_package as random_cine_package
from Testing.model_packages import contrast_card, random_package
from Testing.nasty.case import BROKEN, CRASH, REFUSED, SILENT, WARNED, WORKS, Case, Image, same

GATE = "input gate"  # the group that it is asked in; elsewhere it lets 3 cm of noise pass
REMEDIES = (
    "add|allow|check|choose|complete|convert|copy|correct|create|crop|do not use|download|export|"
    "extract|find out|free|give|install|keep|name|put|read|remove|rename|resample|restore|save|"
    "see|sort|states? the|take|update|use"
)
REMEDY = re.compile(rf"(?:[;,:.]| or| and) (?:or )?(?:{REMEDIES})\b", re.IGNORECASE)


@dataclass(frozen=True)
class Outcome:
    """One of the words of ``case``, and what was said."""

    word: str
    said: str = ""


@dataclass(frozen=True)
class Models:
    """Two small packages with random weights."""

    contrast: Path
    cine: Path

    @classmethod
    def made_in(cls, folder: Path) -> Models:
        contrast = random_package(folder / "contrast", contrast_card())
        return cls(contrast.folder, random_cine_package(folder / "cine").folder)


def run_ours(case: Case, folder: Path, models: Models) -> Outcome:
    """Make the file in the empty ``folder``, and give it to our command."""
    path = case.make(folder)
    out = folder / "out.nii.gz"
    before = _contents(folder)
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr), _gate(case)
    ):  # fmt: skip
        try:
            code = main(_words(case, path, out, models))
        except SystemExit as stop:  # of the argument parser
            code = int(stop.code or 0)
    said = stderr.getvalue()
    if code == 2:
        return _judge_refusal(case, path, said, _contents(folder) - before)
    if code != 0 or "Traceback" in said:
        return Outcome(CRASH, said)
    return _judge_result(case, path, out, said)


def _words(case: Case, path: Path, out: Path, models: Models) -> list[str]:
    options = [option.format(folder=path.parent) for option in case.options]
    if case.command == "synthesize":
        return ["synthesize", str(path), "--to", "T2w", "-o", str(out), "--model",
                str(models.contrast), *options]  # fmt: skip
    if case.command == "cine":
        return ["cine", str(path), "--frames", "8", "--no-refine", "-o", str(out), "--model",
                str(models.cine), *options]  # fmt: skip
    return [*case.command.split(), str(path), *options]


@contextlib.contextmanager
def _gate(case: Case) -> Iterator[None]:
    if case.group == GATE:
        yield
        return
    with mock.patch.object(admission, "examine", lambda volume, contrast: Verdict(volume.name)):
        yield


def _contents(folder: Path) -> set[tuple[str, int]]:
    """Name and time of change of all that is there."""
    return {(str(p.relative_to(folder)), p.lstat().st_mtime_ns) for p in folder.rglob("*")}


def _judge_refusal(case: Case, path: Path, said: str, new: set[tuple[str, int]]) -> Outcome:
    """One sentence that names the file, the reason and the remedy, and nothing left behind."""
    files = {name for name, _ in new if not name.startswith("user-data") and "." in name}
    if files:
        return Outcome(BROKEN, f"left behind: {sorted(files)}")
    sentence = said.splitlines()[-1] if said else ""
    beside = path.iterdir() if path.is_dir() and not path.is_symlink() else path.parent.iterdir()
    named = {shown(path), *map(shown, beside)} | {word.lstrip("-") for word in case.options}
    if "Traceback" in said or not sentence.startswith("mambasynth"):
        return Outcome(CRASH, said)
    data_file = re.match(r"mambasynth: [^:]+\.\w+: ", sentence)  # that a header names
    if not data_file and not any(name and name in sentence for name in named):
        return Outcome(BROKEN, f"names no file: {sentence}")
    if not REMEDY.search(sentence):
        return Outcome(BROKEN, f"says no remedy: {sentence}")
    return Outcome(REFUSED, sentence)


def _judge_result(case: Case, path: Path, out: Path, said: str) -> Outcome:
    if case.command not in ("synthesize", "cine"):
        return Outcome(WORKS, said)
    record = read_record(sidecar_of(out))
    mark = read_marks(out)
    if mark is None or not mark.certain or record.get("Synthetic") is not True:
        return Outcome(BROKEN, "the result is not marked")
    word = WARNED if record.get("Warnings") else WORKS
    if case.command == "synthesize":
        source = read_volume(path, prefer=_value_of("--prefer", case),
                             nan_as_zero="--nan-as-zero" in case.options)  # fmt: skip
        result = read_volume(out)
        if (result.affine != source.affine).any() or result.shape != source.shape:
            if not same(Image(result.array, result.affine), Image(result.array, source.affine)):
                return Outcome(SILENT, "the result lies elsewhere than its source")
        if case.truth and not same(Image(source.array, source.affine), case.truth):
            return Outcome(SILENT, "the source was read wrongly")
    if word == WORKS and case.wanted != WORKS:
        return Outcome(SILENT, said)
    return Outcome(word, str(record.get("Warnings", "")))


def _value_of(option: str, case: Case) -> str | None:
    found = dict(zip(case.options, case.options[1:], strict=False))
    return found.get(option)
