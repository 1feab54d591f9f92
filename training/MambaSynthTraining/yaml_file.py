"""What a recipe file holds, before anything is known about its keys."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from MambaSynthLib.errors import FileError


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML in which a key stands once, numbers are finite, and no alias leads to another: of two
    rates one would be forgotten, no run ends well with an infinite one, and nine aliases of nine
    aliases are soon more than the memory holds.
    """

    _anchors = 0  # around the node that is being read

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        is_alias = isinstance(event, yaml.AliasEvent)
        if is_alias and self._anchors:
            raise yaml.MarkedYAMLError(
                None, None, f"the alias {event.anchor!r} stands in another", event.start_mark
            )
        is_anchor = not is_alias and event.anchor is not None
        self._anchors += is_anchor
        node = super().compose_node(parent, index)
        self._anchors -= is_anchor
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    None, None, f"the key {key.value!r} appears twice", key.start_mark
                )
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping

    def construct_yaml_float(self, node: Any) -> float:
        number: float = super().construct_yaml_float(node)
        if not math.isfinite(number):
            raise yaml.MarkedYAMLError(
                None, None, f"{node.value} is no finite number", node.start_mark
            )
        return number


_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def parse_yaml(text: str) -> Any:
    """The content of ``text``; nothing in it runs.

    Raises ValueError, in one line: no YAML, too deeply nested, a key twice, a number that is not
    finite, an alias in another.
    """
    try:
        return _Loader(text).get_single_data()
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_yaml(path: Path) -> Any:
    """The parsed content of a YAML file. Raises FileError: the file is missing or no such YAML."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    except ValueError as error:
        raise FileError(f"{path}: is no YAML ({error}); correct that line.") from error
