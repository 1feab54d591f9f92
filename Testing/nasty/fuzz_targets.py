"""What is fuzzed: how its inputs are made from good ones, and what may come of them."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import yaml
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from MambaSynthLib.errors import MambaSynthError, RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.io.files import read_marks, read_volume, write_volume
from MambaSynthLib.model.package import CARD, read_package
from MambaSynthLib.server.exchange import save_volume
from MambaSynthLib.server.server import Server
from MambaSynthTraining.recipe_file import read_recipe
from MambaSynthTraining.recipe_folder import recipes_folder
from Testing.library.cine_hearts import beat
from Testing.library.dicom_slices import dicom_series, of_a_person
from Testing.library.image_files import OBLIQUE, VALUES, itk_file, mha_file, nifti_file, nrrd_file
from Testing.model_packages import cine_card, contrast_card, random_package
from Testing.nasty.cine_cases import stacked
from Testing.provenance_records import RECORD

Target = tuple[SearchStrategy[Any], Callable[[Any], None]]
HEADER = 400  # bytes of a file that say what it is; most edits fall there
PACKED = (".nii.gz", ".mgz")
NORMAL = {"allow_subnormal": False}  # a process that trained flushes them to zero
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(**NORMAL), st.text(max_size=20)
)
ODD = st.sampled_from([0, -1, 1, 2**31, 2**63, 10**400, -(10**25), 1e308, 5e-324, "", "\0", "..",
                       "/", "nan", "\ud800", "x" * 5000, [], {}, [[]] * 9, True])  # fmt: skip
ANY = st.one_of(ODD, st.recursive(PLAIN, lambda inner: st.one_of(
    st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
), max_leaves=8))  # fmt: skip


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """An error is one line that is not long."""
    try:
        yield
    except MambaSynthError as error:
        text = str(error)
        assert text and "\n" not in text and len(text) < 2000, text


# ---- bytes ---------------------------------------------------------------------------------------

Edit = tuple[float, bytes, int]  # where, what to put, in the place of how many bytes
EDITS = st.lists(st.tuples(
    st.floats(0, 1, **NORMAL),
    st.one_of(st.binary(max_size=8), st.sampled_from([b"\0" * 8, b"\xff" * 8])),
    st.integers(0, 8),
), min_size=1, max_size=6)  # fmt: skip


def edited(content: bytes, edits: list[Edit], cut: float) -> bytes:
    """Half of the edits fall into the header; ``cut`` of 1 keeps everything."""
    for n, (where, what, count) in enumerate(edits):
        reach = min(HEADER, len(content)) if n % 2 == 0 else len(content)
        place = int(where * reach)
        content = content[:place] + what + content[place + (count or len(what)) :]
    return content[: int(cut * len(content))]


def of_bytes(files: dict[str, bytes], folder: Path, check: Callable[[Path], Any]) -> Target:
    def run(value: tuple[str, list[Edit], float]) -> None:
        name, edits, cut = value
        content = edited(files[name], edits, cut)
        path = folder / name
        path.write_bytes(gzip.compress(content, 1) if name.endswith(PACKED) else content)
        with one_sentence():
            check(path)

    cuts = st.one_of(st.just(1.0), st.just(1.0), st.floats(0, 1, **NORMAL))
    return st.tuples(st.sampled_from(sorted(files)), EDITS, cuts), run


def readers(folder: Path) -> Target:
    folder = _new(folder / "readers")
    good = _new(folder / "good")
    nifti_file(good / "x.nii"), itk_file(good / "packed.nrrd", compressed=True)
    nrrd_file(good / "x.nrrd"), mha_file(good / "x.mha")
    itk_file(good / "packed.mha", compressed=True)
    stacked()(good)
    write_volume(Volume(VALUES, OBLIQUE), good / "marked.nii", provenance=RECORD)
    write_volume(Volume(VALUES, OBLIQUE), good / "also.nrrd", provenance=RECORD)
    nibabel.save(nibabel.MGHImage(VALUES, OBLIQUE), good / "x.mgh")
    files = {path.name: path.read_bytes() for path in good.iterdir()}
    files |= {"x.nii.gz": files["x.nii"], "x.mgz": files["x.mgh"]}

    def check(path: Path) -> None:
        if path.suffix == ".json":
            read_marks(path), read_marks(path.with_suffix(".nii"))
            return
        with one_sentence():
            read_marks(path)
        if path.name == "c.nii":
            assert all(np.isfinite(frame.array).all() for frame in read_cine(path).frames)
        else:
            assert np.isfinite(read_volume(path).array).all()

    (folder / "marked.nii").write_bytes(files["marked.nii"])
    return of_bytes(files, folder, check)


def dicom(folder: Path) -> Target:
    """One slice of a stack, all the others being sound."""
    series = dicom_series(_new(folder / "dicom"), change=lambda d, k, f: f == 0 and _person(d, k))
    path = next(series.glob("*-2-0.dcm"))

    def check(changed: Path) -> None:
        assert np.isfinite(read_volume(changed.parent).array).all()

    return of_bytes({path.name: path.read_bytes()}, series, check)


def _person(dataset: Any, k: int) -> bool:
    of_a_person(dataset, k, 0)
    return True


# ---- structured text -----------------------------------------------------------------------------


def places_in(document: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a document of mappings and lists."""
    found = [above] if above else []
    if isinstance(document, dict | list):
        entries = document.items() if isinstance(document, dict) else enumerate(document)
        for key, inner in entries:
            found += places_in(inner, (*above, key))
    return found


def changed(document: Any, changes: list[tuple[int, str, Any]]) -> Any:
    """Values replaced, removed, or given another key."""
    document = deepcopy(document)
    for number, how, value in changes:
        places = places_in(document)
        if not places:
            break
        *above, key = places[number % len(places)]
        inner = document
        for step in above:
            inner = inner[step]
        if how == "replace":
            inner[key] = deepcopy(value)
        elif how == "remove":
            del inner[key]
        elif isinstance(inner, dict):
            inner[str(value)[:50]] = inner[key]
    return document


CHANGES = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from(["replace", "replace", "remove", "key"]), ANY),
    min_size=1, max_size=3,
)  # fmt: skip


def cards(folder: Path) -> Target:
    """``model.json``: another document, or other bytes."""
    folder = _new(folder / "cards")
    texts = []
    for n, card in enumerate((contrast_card(), cine_card())):
        package = random_package(folder / str(n), card)
        texts.append((package.folder / CARD).read_text())
        (package.folder / "package.sha256").unlink()

    def check(value: tuple[int, Any, list[Edit] | None]) -> None:
        n, changes, edits = value
        data = json.dumps(changed(json.loads(texts[n]), changes)).encode()
        (folder / str(n) / CARD).write_bytes(edited(data, edits, 1.0) if edits else data)
        with one_sentence():
            read_package(folder / str(n))

    return st.tuples(st.integers(0, 1), CHANGES, st.one_of(st.none(), EDITS)), check


def recipes(folder: Path) -> Target:
    path = _new(folder / "recipes") / "recipe.yaml"
    found = sorted(recipes_folder().rglob("*.yaml"))
    texts = [
        text for each in found if "method" in (text := each.read_text()) and "from:" not in text
    ]

    def check(value: tuple[int, Any, list[Edit] | None, bool]) -> None:
        n, changes, edits, small = value
        document = changed(yaml.safe_load(texts[n % len(texts)]), changes)
        with contextlib.suppress(yaml.YAMLError, UnicodeEncodeError):
            data = yaml.dump(document, allow_unicode=True).encode()
            path.write_bytes(edited(data, edits, 1.0) if edits else data)
            with one_sentence():
                read_recipe(path, small=small)

    choice = st.integers(0, 100)
    return st.tuples(choice, CHANGES, st.one_of(st.none(), EDITS), st.booleans()), check


# ---- lines ---------------------------------------------------------------------------------------


class NoModel:
    """In the place of an engine; the run before it is what is asked here."""

    def __init__(self, model: str, device: str) -> None:
        raise RequestError(f"the model {model[:20]!r} is not here; give another.")


def requests_in(folder: Path) -> list[dict[str, Any]]:
    """One of each kind, of volumes that are there."""
    files = [str(save_volume(frame, folder / f"{n}.npz")) for n, frame in enumerate(beat())]
    common = {"id": 1, "model": "m", "device": "cpu", "folder": str(folder), "seed": 0}
    contrast = {"sources": {"T1w": "gone.npz"}, "steps": 1, "samples": 1, "slices": None}
    cine = {"sources": files, "times_ms": [0, 90, 180, 270], "frames": 8, "ed": 1, "es": 3,
            "timing": "linear", "refine": False, "only_phases": False}  # fmt: skip
    return [
        {"do": "synthesize", **common, **contrast, "force": False},
        {"do": "cine", **common, **cine},
        {"do": "cine", **common, **cine},
        {"do": "import", "id": 1, "path": "gone.zip", "folder": str(folder)},
        {"do": "cancel", "id": 2},
        {"do": "devices", "id": 3},
    ]


def lines(folder: Path) -> Target:
    """Each line is answered, without a traceback; then the next is heard."""
    requests = requests_in(_new(folder / "serve"))

    def check(value: tuple[int, Any, list[Edit] | None]) -> None:
        n, changes, edits = value
        data = json.dumps(changed(requests[n % len(requests)], changes)).encode()
        text = (edited(data, edits, 1.0) if edits else data).decode("utf-8", "backslashreplace")
        text = text.replace("\n", " ").replace("\r", " ")
        told: list[dict[str, Any]] = []
        server = Server(lambda event, *_: told.append(event), NoModel, list, NoModel)
        heard = [(line, []) for line in (text, '{"do": "devices", "id": "last"}')]
        server.run(heard, lambda: None)
        stopped = '"stop"' in text
        assert stopped or told[-1]["id"] == "last", told
        for event in told:
            assert not event.get("details"), event["details"]
            assert len(json.dumps(event)) < 5000, {k: str(v)[:90] for k, v in event.items()}

    return st.tuples(st.integers(0, 100), CHANGES, st.one_of(st.none(), EDITS)), check


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


TARGETS: dict[str, Callable[[Path], Target]] = {
    "readers": readers,
    "dicom": dicom,
    "cards": cards,
    "recipes": recipes,
    "serve": lines,
}
