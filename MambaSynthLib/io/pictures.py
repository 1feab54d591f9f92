"""The texts inside a PNG or GIF picture, where reports keep their mark."""

from __future__ import annotations

from typing import BinaryIO

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.decoded import Words


def picture_words(stream: BinaryIO, name: str) -> Words:
    """The text chunks of a PNG, the comment of a GIF. Raises FileError for what is no picture."""
    from PIL import Image

    try:
        with Image.open(stream, formats=["PNG", "GIF"]) as picture:
            texts = {key: value for key, value in picture.info.items() if isinstance(key, str)}
            kind = picture.format
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FileError(
            f"{name}: is no PNG or GIF picture that can be read; check what the file is."
        ) from error
    found = {
        f"{kind} {key}": value.decode("latin-1") if isinstance(value, bytes) else value
        for key, value in texts.items()
    }
    return Words({where: text for where, text in found.items() if isinstance(text, str)})
