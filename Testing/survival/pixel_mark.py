"""How well the mark in the voxels survives, and what it costs.

    python -m Testing.survival.pixel_mark [--readme README.md] [--model ID] [--data FOLDER]

Heads are a computed one and, where ``../shared/data`` is, those of real people; a shipped model
makes T2w images of their T1w, once, and these are marked. A cell is the least score of an attack's
variants; 7.6 is enough.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MambaSynthLib.engine import Engine
from MambaSynthLib.image.metrics import foreground, volume_scores
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_volume
from MambaSynthLib.model.registry import find_model
from MambaSynthLib.watermark.detection import find_mark
from MambaSynthLib.watermark.embedding import with_mark
from MambaSynthLib.watermark.texture import Levels
from MambaSynthTraining.evaluation.marked_text import put_into_block
from Testing.analytic_heads import analytic_head
from Testing.survival.attacks import BEYOND, PROMISED, Attack, slices_as_jpeg

COMMAND = "python -m Testing.survival.pixel_mark"
MODEL = "cravim-head-t1w-t2w"
KNOWN = (MODEL, "cravim-head-t2w-t1w", "cravim-t1w-t2w-compact", "mstg-cine-compact")
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = {
    "person 07": ("brain_t1_t2/registered_1mm/patient07/T1_MNI.nii.gz", "T1_", "T2_"),
    "clinical 01": ("brain_t1_t2/clinical_2d/patient01/study1_T1W.nii.gz", "", ""),
}


@dataclass(frozen=True)
class Head:
    """A synthetic T2w volume without the mark, and the acquired one on its grid, if there is."""

    name: str
    synthetic: Volume
    acquired: Volume | None


def heads(model: str, data: Path) -> Iterator[Head]:
    """Computed, and real where ``data`` is."""
    engine = Engine(find_model(model), "cpu")
    computed = analytic_head((1.0, 1.0, 2.0))
    given: list[tuple[str, Volume, Volume | None]] = [
        ("computed", computed["T1w"], computed["T2w"])
    ]
    for name, (file, old, new) in REAL.items():
        path = data / file
        if path.is_file():
            other = path.with_name(path.name.replace(old, new)) if old else None
            given.append((name, read_volume(path), read_volume(other) if other else None))
    for name, source, acquired in given:
        made = engine.synthesize({"T1w": source}, pixel_mark=False)
        yield Head(name, made.volumes["T2w"], acquired)


def survival(head: Head, attacks: dict[str, list[Attack]]) -> dict[str, str]:
    """Attack -> least score and whether all were found and spelled."""
    marked = with_mark(head.synthetic, MODEL)
    rows = {}
    for name, variants in attacks.items():
        found = [find_mark(attack(marked), KNOWN) for attack in variants]
        scores = [mark.score if mark else 0.0 for mark in found]
        rows[name] = _answer(scores, [mark is not None and mark.model == MODEL for mark in found])
    return rows


def _answer(scores: Sequence[float], spelled: Sequence[bool]) -> str:
    count = sum(score > 0 for score in scores)
    if not count:
        return "lost"
    named = "" if all(spelled) else f", model in {sum(spelled)}"
    if count < len(scores) or len(scores) > 3:
        return f"{count} of {len(scores)}{named}"
    return f"{min(score for score in scores if score):.0f}{named}"


def jpeg_slices(head: Head) -> str:
    """How many slices tell by themselves."""
    pictures = slices_as_jpeg(with_mark(head.synthetic, MODEL))
    found = [find_mark(picture, KNOWN) for picture in pictures[::8]]
    named = sum(mark is not None and mark.model == MODEL for mark in found)
    return f"{sum(m is not None for m in found)} of {len(found)}, model in {named}"


def harm(head: Head) -> dict[str, str]:
    """What the mark costs against the acquired image, and how fast it is."""
    started = time.process_time()
    marked = with_mark(head.synthetic, MODEL)
    embedded = time.process_time()
    find_mark(marked, KNOWN)
    in_place = time.process_time()
    find_mark(head.synthetic, KNOWN)
    nothing = time.process_time()
    difference = np.abs(marked.array - head.synthetic.array)
    background = head.synthetic.array == head.synthetic.array.min()
    rows = {
        "largest change, % of the span": f"{100 * difference.max() / _span(head):.2f}",
        "largest change in air, %": f"{100 * difference[background].max(initial=0):.2f}",
        "seconds to mark": f"{embedded - started:.1f}",
        "seconds to find": f"{in_place - embedded:.1f}",
        "seconds to find nothing": f"{nothing - in_place:.1f}",
    }
    if head.acquired is not None:
        mask = foreground(head.acquired.array)
        plain = volume_scores(head.synthetic.array, head.acquired.array, mask)
        after = volume_scores(marked.array, head.acquired.array, mask)
        if plain and after:
            rows["SSIM without it"] = f"{plain.ssim:.4f}"
            rows["SSIM it costs"] = f"{plain.ssim - after.ssim:.5f}"
            rows["PSNR without it, dB"] = f"{plain.psnr:.2f}"
            rows["PSNR it costs, dB"] = f"{plain.psnr - after.psnr:.3f}"
    return rows


def _span(head: Head) -> float:
    return Levels.of(head.synthetic.array).span


def table(title: str, columns: dict[str, dict[str, str]]) -> str:
    """Markdown: a row for each key, a column for each head."""
    keys = list(dict.fromkeys(key for column in columns.values() for key in column))
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {key} | {' | '.join(column.get(key, '-') for column in columns.values())} |"
        for key in keys
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readme", type=Path, help="put the tables into its block")
    parser.add_argument("--model", default=MODEL, help="what makes the images to mark")
    parser.add_argument("--data", type=Path, default=DATA, help="a folder with real heads")
    options = parser.parse_args()
    columns: dict[str, dict[str, dict[str, str]]] = {"promised": {}, "beyond": {}, "cost": {}}
    for head in heads(options.model, options.data):
        columns["cost"][head.name] = harm(head)
        columns["promised"][head.name] = survival(head, PROMISED) | {
            "JPEG 90, each slice alone": jpeg_slices(head)
        }
        columns["beyond"][head.name] = survival(head, BEYOND)
        print(head.name, columns["promised"][head.name], flush=True)
    tables = [table("promised: least score", columns["promised"]),
              table("beyond the promise", columns["beyond"]),
              table("cost", columns["cost"])]  # fmt: skip
    text = "\n\n".join(tables)
    print(text)
    if options.readme:
        put_into_block(options.readme, COMMAND, text)


if __name__ == "__main__":
    main()
