"""What a recipe file holds, before anything is known about its keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from MambaSynthLib.errors import FileError


def read_yaml(path: Path) -> Any:
    """The parsed content of a YAML file; nothing in it runs.

    Raises FileError: the file is missing or no YAML.
    """
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise FileError(f"{path}: is no YAML ({reason}); correct that line.") from error
