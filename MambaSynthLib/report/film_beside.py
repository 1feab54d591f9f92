"""An acquired cine and the same one with frames made again, side by side in a moving picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.installation import how_to_install
from MambaSynthLib.io.atomic import Outputs
from MambaSynthLib.report.film import LONGEST_SIDE, Film, pillow_is_here
from MambaSynthLib.report.moving_pictures import DARK, write_picture

if TYPE_CHECKING:
    from MambaSynthLib.cine.contestants import Contestant
    from MambaSynthLib.cine.leaving_out import Task

GAP = 6  # pixels between the two


@dataclass(frozen=True)
class Beside:
    """Two films of the same times, and what their file is called."""

    name: str
    acquired: Film
    made: Film

    @classmethod
    def of(cls, task: Task, contestant: Contestant) -> Beside:
        """What was acquired from the first given frame to the last, and what ``contestant`` makes
        of those that are hidden from it.
        """
        span = range(task.given[0], task.given[-1] + 1)
        times = tuple(task.cine.times_ms[f] for f in span)
        acquired = Film(times, (True,) * len(span))
        made = Film(times, tuple(f in task.given for f in span))
        acquired.watch(task.cine.frames[f] for f in span)
        made.watch(_filled(task, contestant))
        return cls(film_name(task), acquired, made)

    def write(self, folder: Path, into: Outputs) -> Path:
        """Raises FileError."""
        from PIL import Image

        where = self.acquired.where()
        pairs = zip(*(film.tiles(where, LONGEST_SIDE) for film in (self.acquired, self.made)),
                    strict=True)  # fmt: skip
        both = []
        for left, right in pairs:
            tile = Image.new("RGB", (left.width + GAP + right.width, left.height), DARK)
            tile.paste(left, (0, 0))
            tile.paste(right, (left.width + GAP, 0))
            both.append(tile)
        write_picture(folder / self.name, both, self.acquired.durations(), into)
        return folder / self.name


def _filled(task: Task, contestant: Contestant) -> Iterator[Volume]:
    """All frames of the span in time: the given ones, and the contestant's between them."""
    times, frames = task.cine.times_ms, task.cine.frames
    for number, (a, b) in enumerate(zip(task.given, task.given[1:], strict=False)):
        yield frames[a]
        fractions = [(times[f] - times[a]) / (times[b] - times[a]) for f in range(a + 1, b)]
        for array in contestant.frames(number, fractions):
            yield frames[a].with_array(array)
    yield frames[task.given[-1]]


def film_name(task: Task) -> str:
    """As in lax_2ch-every-3.gif."""
    return f"{task.cine.name.partition('.')[0]}-{task.keep.replace(' ', '-')}.gif"


def check_films(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    """Refuse, before any computing, films that could not be written to a folder.

    Raises FileError, or RequestError where a package is missing or two films would have one name.
    """
    if not pillow_is_here():
        raise RequestError(f"--film needs Pillow; {how_to_install('report')}.")
    if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise FileError(f"{folder}: is no folder to write to; choose another for the films.")
    for name in names:
        if names.count(name) > 1:
            raise RequestError(
                f"--film: two films would be called {name}; evaluate the cines one by one."
            )
        if (folder / name).exists() and not overwrite:
            raise FileError(
                f"{folder / name}: exists already; choose another folder or add --overwrite."
            )
