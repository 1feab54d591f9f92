"""Tiles, which are frames with their labels, as a file: a moving picture, or a montage of all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.atomic import Outputs, write_whole
from MambaSynthLib.io.payload import shown

if TYPE_CHECKING:
    from PIL.Image import Image

MARK = "SYNTHETIC - not for diagnosis"
MOST_IN_MONTAGE, MONTAGE_COLUMNS = 24, 6
FRAMES_PER_SECOND, CYCLES = 50, 4  # of .mp4: a frame lasts a whole number of 20 ms
DARK = (16, 18, 20)


def write_picture(
    path: Path, tiles: Sequence[Image], durations_ms: Sequence[int], into: Outputs | None = None
) -> None:
    """``path`` by its suffix, ``into`` a set of outputs where one is named.

    Raises FileError; nothing is left behind then.
    """
    writer = WRITERS[path.suffix.lower()]

    def check(written: Path) -> None:
        if written.stat().st_size == 0:
            raise FileError(f"{shown(path)}: came out empty; choose another format.")

    write_whole(path, lambda stream: writer(stream, tiles, durations_ms), check, into=into)


def _write_gif(stream: Any, tiles: Sequence[Image], durations_ms: Sequence[int]) -> None:
    first, *others = tiles
    first.save(
        stream, "GIF", save_all=True, append_images=others, duration=list(durations_ms), loop=0,
        comment=MARK.encode("ascii"), optimize=False,
    )  # fmt: skip


def _write_png(stream: Any, tiles: Sequence[Image], _: Sequence[int]) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    count = len(tiles)
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_IN_MONTAGE)).round())
    columns = min(MONTAGE_COLUMNS, len(chosen))
    width, height = tiles[0].size
    sheet = Image.new("RGB", (columns * width, math.ceil(len(chosen) / columns) * height), DARK)
    for place, n in enumerate(chosen):
        sheet.paste(tiles[int(n)], (place % columns * width, place // columns * height))
    info = PngInfo()
    info.add_text("Description", MARK)
    sheet.save(stream, "PNG", pnginfo=info)


def _write_mp4(stream: Any, tiles: Sequence[Image], durations_ms: Sequence[int]) -> None:
    """One cycle, repeated."""
    import tempfile

    import imageio_ffmpeg

    width, height = (side // 16 * 16 for side in tiles[0].size)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cine.mp4"
        writer = imageio_ffmpeg.write_frames(str(file), (width, height), fps=FRAMES_PER_SECOND)
        writer.send(None)
        for _ in range(CYCLES):
            for tile, duration in zip(tiles, durations_ms, strict=True):
                data = np.ascontiguousarray(np.asarray(tile)[:height, :width])
                for _ in range(max(1, round(duration * FRAMES_PER_SECOND / 1000))):
                    writer.send(data)
        writer.close()
        stream.write(file.read_bytes())


WRITERS: dict[str, Callable[[Any, Sequence[Image], Sequence[int]], None]] = {
    ".gif": _write_gif,
    ".mp4": _write_mp4,
    ".png": _write_png,
}
