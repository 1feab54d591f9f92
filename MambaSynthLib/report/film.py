"""A moving picture or a montage of a cine, for the reader: every frame says what it is.

    | ED 0 ms   | 87 ms     | 174 ms    | ES 348 ms |      .png: one picture of all frames
    | ACQUIRED  | SYNTHETIC | SYNTHETIC | ACQUIRED  |      .gif, .mp4: one frame after the other

The middle slice of the stack is shown around what moves, at its true proportions. Frames last as
long as they are apart in time, slowed down, and the window is that of the first frame, so that
nothing flickers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine.preparation import short_axis
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.installation import how_to_install
from MambaSynthLib.io.atomic import Outputs
from MambaSynthLib.report.moving_pictures import DARK, MARK, WRITERS, write_picture

if TYPE_CHECKING:
    from PIL.Image import Image

Place = tuple[slice, slice]

WINDOW_PERCENTILES = (1.0, 99.5)
LONGEST_SIDE = 384  # pixels of a moving picture; a frame of a montage has less
MONTAGE_SIDE = 200
MOVING_PERCENTILE = 98.0  # of the change of a pixel; above lies the border of the ventricles
SPREADS_SHOWN, SMALLEST_SHOWN = 5.0, 32  # side of the square shown: spreads of what moves; pixels
BAND = 15  # pixels of each of the two lines of text below a frame
SLOWER = 2.0  # how much slower than the heart the moving picture is
SHORTEST_MS, LONGEST_MS = 30, 400  # a frame's time on the screen
GREY, GOLD = (205, 212, 218), (255, 200, 61)


def check_report(path: Path, overwrite: bool) -> None:
    """Refuse, before any computing, a report that could not be written.

    Raises FileError, or RequestError where a package for the format is missing.
    """
    if path.suffix.lower() not in WRITERS:
        raise FileError(f"{path}: a cine report is one of {', '.join(WRITERS)}; rename it.")
    if not pillow_is_here():
        raise RequestError(f"--report needs Pillow; {how_to_install('report')}.")
    if path.suffix.lower() == ".mp4" and not _has_ffmpeg():
        raise RequestError(
            f"{path.name}: writing .mp4 needs imageio-ffmpeg; run pip install imageio-ffmpeg, or "
            "name the report .gif."
        )
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise FileError(f"{path.parent}: is no folder to write to; choose another for the report.")
    if path.is_dir() or (path.exists() and not overwrite):
        raise FileError(f"{path}: exists already; choose another name or add --overwrite.")


def pillow_is_here() -> bool:
    return find_spec("PIL") is not None


def _has_ffmpeg() -> bool:
    return find_spec("imageio_ffmpeg") is not None


@dataclass
class Film:
    """Collects one slice of each frame as they pass by; ``write`` makes the picture."""

    times_ms: tuple[float, ...]
    acquired: tuple[bool, ...]
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)
    _window: tuple[float, float] = (0.0, 1.0)

    def watching(self, frames: Iterator[Volume]) -> Iterator[Volume]:
        """The same frames; a picture of each is kept."""
        for frame in frames:
            if not self.pictures:
                low, high = (float(v) for v in np.percentile(frame.array, WINDOW_PERCENTILES))
                self._window = (low, high if high > low else low + 1)
            self.pictures.append(self._picture(frame))
            yield frame

    def watch(self, frames: Iterable[Volume]) -> None:
        """Take a picture of each."""
        for _ in self.watching(iter(frames)):
            continue

    def write(self, path: Path, into: Outputs | None = None) -> None:
        """Write ``path`` by its suffix, ``into`` a set of outputs where one is named.

        Raises FileError; nothing is left behind then.
        """
        side = MONTAGE_SIDE if path.suffix.lower() == ".png" else LONGEST_SIDE
        write_picture(path, self.tiles(self.where(), side), self.durations(), into)

    def where(self) -> Place:
        """Rows and columns of a square around what changes; all where nothing does."""
        return _around_heart(self.pictures)

    def tiles(self, where: Place, side: int) -> list[Image]:
        """The frames, cut out and labelled, ``side`` pixels at their longest."""
        return [self._labelled(n, where, side) for n in range(len(self.pictures))]

    def _picture(self, frame: Volume) -> NDArray[np.uint8]:
        """(rows,columns) of the middle slice, 0 to 255."""
        view = short_axis(frame.affine, "LPS")  # left on the right, as radiologists look at it
        slices = view.view(frame.array)
        middle = slices[len(slices) // 2]
        _, down, across = frame.spacing[list(view.order)]
        low, high = self._window
        grey = (np.clip((middle - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
        return _proportioned(grey, down / across)

    def durations(self) -> list[int]:
        """ms on the screen of each frame; the last one as long as others on average."""
        gaps = np.diff(self.times_ms)
        slow = [*gaps, float(gaps.mean())]
        return [round(float(np.clip(gap * SLOWER, SHORTEST_MS, LONGEST_MS))) for gap in slow]

    def _labelled(self, n: int, where: Place, side: int) -> Image:
        """Frame ``n`` with its time and what it is."""
        from PIL import Image, ImageDraw

        picture = Image.fromarray(self.pictures[n][where])
        scale = side / max(picture.size)
        size = (max(8, round(picture.width * scale)), max(8, round(picture.height * scale)))
        tile = Image.new("RGB", (max(size[0], MONTAGE_SIDE), size[1] + 2 * BAND), DARK)
        tile.paste(
            picture.resize(size, Image.Resampling.BILINEAR).convert("RGB"),
            ((tile.width - size[0]) // 2, 0),
        )
        draw = ImageDraw.Draw(tile)
        text, ink = ("acquired", GREY) if self.acquired[n] else (MARK, GOLD)
        place = f"frame {n + 1} of {len(self.pictures)}, {self.times_ms[n]:.0f} ms"
        draw.text((4, size[1] + 2), place, fill=GREY)
        draw.text((4, size[1] + BAND + 1), text, fill=ink)
        return tile


def _around_heart(pictures: list[NDArray[np.uint8]]) -> Place:
    change = np.max(pictures, axis=0).astype(float) - np.min(pictures, axis=0)
    if not change.any():
        return slice(None), slice(None)
    weight = np.where(change >= np.percentile(change, MOVING_PERCENTILE), change, 0)
    places = np.indices(change.shape).reshape(2, -1)
    center = np.average(places, axis=1, weights=weight.ravel())
    apart = np.average((places - center[:, None]) ** 2, axis=1, weights=weight.ravel()).sum()
    side = max(SMALLEST_SHOWN, round(SPREADS_SHOWN * float(apart) ** 0.5))
    starts = [
        int(np.clip(round(middle - side / 2), 0, max(0, size - side)))
        for middle, size in zip(center, change.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def _proportioned(picture: NDArray[np.uint8], ratio: float) -> NDArray[np.uint8]:
    """Rows repeated or left out so that pixels of ``ratio`` height to width become square."""
    rows = max(1, round(len(picture) * ratio))
    chosen = np.minimum((np.arange(rows) / ratio).astype(int), len(picture) - 1)
    square: NDArray[np.uint8] = picture[chosen]
    return square
