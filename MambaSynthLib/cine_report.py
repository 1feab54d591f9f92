"""A moving picture or a montage of a cine, for the reader: every frame says what it is.

    | ED 0 ms   | 87 ms     | 174 ms    | ES 348 ms |      .png: one picture of all frames
    | ACQUIRED  | SYNTHETIC | SYNTHETIC | ACQUIRED  |      .gif, .mp4: one frame after the other

The middle slice of the stack is shown, at its true proportions. Frames last as long as they are
apart in time, slowed down, and the window is that of the first frame, so that nothing flickers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.io.atomic import commit, staged_from
from MambaSynthLib.io.payload import shown
from MambaSynthLib.volume import Volume

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = (".gif", ".mp4", ".png")
MARK = "SYNTHETIC - not for diagnosis"
WINDOW_PERCENTILES = (1.0, 99.5)
LONGEST_SIDE = 384  # pixels of a moving picture; a frame of a montage has less
MONTAGE_SIDE, MOST_IN_MONTAGE, MONTAGE_COLUMNS = 200, 24, 6
BAND = 15  # pixels of each of the two lines of text below a frame
SLOWER = 2.0  # how much slower than the heart the moving picture is
SHORTEST_MS, LONGEST_MS = 30, 400  # a frame's time on the screen
GREY, GOLD, DARK = (205, 212, 218), (255, 200, 61), (16, 18, 20)


def check_report(path: Path, overwrite: bool) -> None:
    """Refuse, before any computing, a report that could not be written.

    Raises FileError, or RequestError where a package for the format is missing.
    """
    if path.suffix.lower() not in KINDS:
        raise FileError(f"{path}: a cine report is one of {', '.join(KINDS)}; rename it.")
    if find_spec("PIL") is None:
        raise RequestError("--report needs Pillow; run: pip install 'mambasynth[report]'.")
    if path.suffix.lower() == ".mp4" and not _has_ffmpeg():
        raise RequestError(
            f"{path.name}: writing .mp4 needs imageio-ffmpeg; run pip install imageio-ffmpeg, or "
            "name the report .gif."
        )
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise FileError(f"{path.parent}: is no folder to write to; choose another for the report.")
    if path.is_dir() or (path.exists() and not overwrite):
        raise FileError(f"{path}: exists already; choose another name or add --overwrite.")


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

    def write(self, path: Path) -> None:
        """Write ``path`` by its suffix. Raises FileError; nothing is left behind then."""
        kind = path.suffix.lower()
        writer = {".gif": self._write_gif, ".png": self._write_png, ".mp4": self._write_mp4}[kind]

        def check(written: Path) -> None:
            if written.stat().st_size == 0:
                raise FileError(f"{shown(path)}: came out empty; choose another format.")

        with staged_from(path, writer, check) as temporary:
            commit(temporary, path)

    def _picture(self, frame: Volume) -> NDArray[np.uint8]:
        """(rows,columns) of the middle slice, 0 to 255."""
        axis = int(np.argmax(frame.spacing))  # across the stack
        middle = np.take(frame.array, frame.shape[axis] // 2, axis).T
        across, down = (frame.spacing[other] for other in range(3) if other != axis)
        low, high = self._window
        grey = (np.clip((middle - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
        return _proportioned(grey, down / across)

    def _write_gif(self, stream: Any) -> None:
        first, *others = (self._labelled(n, LONGEST_SIDE) for n in range(len(self.pictures)))
        first.save(
            stream, "GIF", save_all=True, append_images=others, duration=self._durations(), loop=0,
            comment=MARK.encode("ascii"), optimize=False,
        )  # fmt: skip

    def _write_png(self, stream: Any) -> None:
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        count = len(self.pictures)
        chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_IN_MONTAGE)).round())
        tiles = [self._labelled(int(n), MONTAGE_SIDE) for n in chosen]
        columns = min(MONTAGE_COLUMNS, len(tiles))
        width, height = tiles[0].size
        sheet = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height), DARK)
        for n, tile in enumerate(tiles):
            sheet.paste(tile, (n % columns * width, n // columns * height))
        info = PngInfo()
        info.add_text("Description", MARK)
        sheet.save(stream, "PNG", pnginfo=info)

    def _write_mp4(self, stream: Any) -> None:
        """One cycle, repeated; each frame is shown for a whole number of 20 ms."""
        import tempfile

        import imageio_ffmpeg

        tiles = [self._labelled(n, LONGEST_SIDE) for n in range(len(self.pictures))]
        width, height = (side // 16 * 16 for side in tiles[0].size)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "cine.mp4"
            writer = imageio_ffmpeg.write_frames(str(file), (width, height), fps=50)
            writer.send(None)
            for _ in range(4):
                for tile, duration in zip(tiles, self._durations(), strict=True):
                    data = np.ascontiguousarray(np.asarray(tile)[:height, :width])
                    for _ in range(max(1, round(duration / 20))):
                        writer.send(data)
            writer.close()
            stream.write(file.read_bytes())

    def _durations(self) -> list[int]:
        """ms on the screen of each frame; the last one as long as others on average."""
        gaps = np.diff(self.times_ms)
        slow = [*gaps, float(gaps.mean())]
        return [round(float(np.clip(gap * SLOWER, SHORTEST_MS, LONGEST_MS))) for gap in slow]

    def _labelled(self, n: int, side: int) -> Image:
        """Frame ``n`` with its time and what it is, ``side`` pixels at its longest."""
        from PIL import Image, ImageDraw

        picture = Image.fromarray(self.pictures[n])
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


def _proportioned(picture: NDArray[np.uint8], ratio: float) -> NDArray[np.uint8]:
    """Rows repeated or left out so that pixels of ``ratio`` height to width become square."""
    rows = max(1, round(len(picture) * ratio))
    chosen = np.minimum((np.arange(rows) / ratio).astype(int), len(picture) - 1)
    square: NDArray[np.uint8] = picture[chosen]
    return square
