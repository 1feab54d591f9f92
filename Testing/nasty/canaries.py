"""Runs on images of a made-up patient: who it is must appear nowhere but where it was asked for.

    python -m Testing.nasty.canaries [--runs 100] [--seed 17]

The name, number and birth date of the patient stand in headers, key/values, extensions and sidecars
of the sources, and in the names of the folders above them. Looked through afterwards: results,
sidecars, tables, reports, temporary files, the user's folder, what was printed, and what ``serve``
answers. DICOM of DICOM keeps the patient, as it must; ``Testing/library/io/test_dicom_writing.py``
says what else.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import random
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import nibabel

from MambaSynthLib.cli import main as mambasynth
from MambaSynthLib.gate import admission
from MambaSynthLib.gate.verdict import Verdict
from MambaSynthLib.server.server import Server
from Testing.library.cine_hearts import beat
from Testing.library.dicom_slices import dicom_series
from Testing.library.image_files import OBLIQUE, VALUES, mha_file, nrrd_file
from Testing.nasty.ours import Models

NAME, NUMBER, BORN = "Canarybird^Xaver", "PID-4711-0815", "19331224"
WORDS = (NAME, "Canarybird", "Xaver", NUMBER, BORN)
FOLDER = f"{NAME.replace('^', '_')}_{NUMBER}"  # as archives name them
ABOUT = {"PatientName": NAME, "PatientID": NUMBER, "PatientBirthDate": BORN}


def of_the_patient(dataset: object, k: int, f: int) -> None:
    for keyword, value in ABOUT.items():
        setattr(dataset, keyword, value)
    for keyword in ("PatientComments", "ProtocolName", "SeriesDescription", "InstitutionName"):
        setattr(dataset, keyword, f"of {NAME}")


def nifti(folder: Path) -> Path:
    image = nibabel.Nifti1Image(VALUES, OBLIQUE)
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = NAME.encode()[:16]
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, json.dumps(ABOUT).encode()))
    image.to_filename(folder / "t1.nii.gz")
    (folder / "t1.json").write_text(json.dumps({"Modality": "MR", **ABOUT}))
    return folder / "t1.nii.gz"


def nrrd(folder: Path) -> Path:
    nrrd_file(
        folder / "t1.nrrd", content=NAME, **{f"{key}:=": value for key, value in ABOUT.items()}
    )
    text = (folder / "t1.nrrd").read_bytes().replace(b":=: ", b":=")
    (folder / "t1.nrrd").write_bytes(text)
    return folder / "t1.nrrd"


def mha(folder: Path) -> Path:
    return mha_file(folder / "t1.mha", **{"Comment": NAME, **ABOUT})


def dicom(folder: Path) -> Path:
    return dicom_series(folder / "series", beat()[:1], change=of_the_patient)


def cine(folder: Path) -> Path:
    return dicom_series(folder / "series", change=of_the_patient)


def damaged(folder: Path) -> Path:
    path = nifti(folder)
    path.write_bytes(path.read_bytes()[:-40])
    return path


def foreign(folder: Path) -> Path:
    """DICOM with a slice of another patient, whom the refusal must not name either."""

    def change(dataset: object, k: int, f: int) -> None:
        of_the_patient(dataset, k, f)
        if k == 3:
            dataset.PatientID = f"{NUMBER}-9"  # type: ignore[attr-defined]

    return dicom_series(folder / "series", beat()[:1], change=change)


SOURCES = (nifti, nrrd, mha, dicom, damaged, foreign)
Words = Callable[[Path, Path, Models], list[str]]  # source, folder for results


def _synthesize(name: str, *more: str) -> Words:
    return lambda source, out, models: [
        "synthesize", str(source), "--to", "T2w", "-o", str(out / name), "--model",
        str(models.contrast), *(word.format(out=out) for word in more),
    ]  # fmt: skip


COMMANDS: tuple[Words, ...] = (
    _synthesize("o.nii.gz", "--json"),
    _synthesize("o.nrrd", "--samples", "2", "--uncertainty", "{out}/u.mha"),
    _synthesize("o.mha", "--report", "{out}/r.png"),
    lambda source, out, models: ["verify", source.name],  # which is echoed as it was typed
    lambda source, out, models: [
        "synthesize-set", str(source.parent), "--to", "T2w", "--glob", "**/t1.n*", "-o",
        str(out), "--model", str(models.contrast),
    ],
    lambda source, out, models: [
        "cine", str(cine(_fresh(source.parent / "beating"))), "--frames", "8", "--no-refine",
        "-o", str(out / "c.nii.gz"), "--model", str(models.cine), "--report", f"{out}/c.gif",
    ],
)  # fmt: skip


def leaks_of(run: int, folder: Path, models: Models) -> list[str]:
    """The places in which the patient appears after one run in an empty ``folder``."""
    draw = random.Random(run)
    out, private, home = (_fresh(folder / name) for name in ("out", "temporary", "home"))
    source = draw.choice(SOURCES)(_fresh(_fresh(folder / FOLDER) / "images"))
    words = draw.choice(COMMANDS)(source, out, models)
    private_place = {"TMPDIR": str(private), "HOME": str(home), "XDG_DATA_HOME": str(home)}
    told = io.StringIO()
    with mock.patch.dict(os.environ, private_place), _temporary_files_in(private):
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told), _no_gate():
            with contextlib.suppress(SystemExit), contextlib.chdir(source.parent):
                mambasynth(words)
            print(json.dumps(_served(source, private, models)))
    found = [f"printed by {words[0]}: {line}" for line in told.getvalue().splitlines()
             if _names_somebody(line.encode())]  # fmt: skip
    for path in (*out.rglob("*"), *private.rglob("*"), *home.rglob("*")):
        if _names_somebody(path.name.encode()) or path.is_file() and _names_somebody(_all_of(path)):
            found.append(f"in {path.relative_to(folder)} of {words[0]}")
    return found


def _served(source: Path, private: Path, models: Models) -> list[object]:
    """What ``serve`` says of requests for what lies in the patient's folder."""
    told: list[object] = []

    def engine_for(model: str, device: str) -> object:
        from MambaSynthLib.server.serve import engine_for

        return engine_for(model, device)

    beside, common = source.parent, {"folder": str(private)}
    synthesis = {"do": "synthesize", **common}
    requests = [
        {**synthesis, "id": 1, "model": str(models.contrast), "sources": {"T1w": str(source)}},
        {**synthesis, "id": 2, "model": str(beside / "package"), "sources": {}},
        {"do": "import", **common, "id": 3, "path": str(beside / "p.zip")},
    ]
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    server = Server(lambda event, *_: told.append(event), engine_for, list, engine_for)
    server.run([(line, []) for line in lines.splitlines()], lambda: None)
    return told


def _all_of(path: Path) -> bytes:
    """The bytes of a file, and what is compressed in it."""
    data = path.read_bytes()
    with contextlib.suppress(OSError, EOFError, zlib.error):
        if path.name.endswith(".gz"):
            data += gzip.decompress(data)
    return data


def _names_somebody(data: bytes) -> bool:
    plain = data.lower()
    return any(
        word.lower().encode(encoding) in plain
        for word in WORDS
        for encoding in ("utf-8", "utf-16le")
    )


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    with mock.patch.object(tempfile, "tempdir", str(folder)):
        yield


@contextlib.contextmanager
def _no_gate() -> Iterator[None]:
    with mock.patch.object(admission, "examine", lambda volume, _: Verdict(volume.name)):
        yield


def _fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    found: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        models = Models.made_in(Path(name) / "models")
        for run in range(options.seed, options.seed + options.runs):
            found += leaks_of(run, _fresh(Path(name) / str(run)), models)
    for leak in found:
        print(leak)
    print(f"{options.runs} runs, {len(found)} places that name the patient")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
