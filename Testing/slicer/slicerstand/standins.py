"""The register of stand-in widgets, and a short way to give them stored Qt properties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

CLASSES: dict[str, type] = {}  # C++ class name -> stand-in


def cpp_class(cls: type) -> type:
    """Decorator: the widget behaves as a wrapped C++ class and is known to the ``.ui`` loader."""
    cls._cpp = True
    CLASSES[cls.__name__] = cls
    return cls


def stored(
    kind: Any, name: str, default: Any, notify: str | None = None
) -> tuple[QtCore.Property, Callable[[Any, Any], None]]:
    """A property that only stores its value, and its setter.

    A change calls ``self._changed_<name>(value)`` where that exists and emits ``notify``.
    """
    key = "_stored_" + name
    convert = kind if kind in (int, float, bool, str) else (lambda value: value)

    def get(self: Any) -> Any:
        return self.__dict__.get(key, default)

    def put(self: Any, value: Any) -> None:
        value = convert(value)
        if value == get(self):
            return
        self.__dict__[key] = value
        getattr(self, "_changed_" + name, lambda _: None)(value)
        if notify:
            getattr(self, notify).emit(value)

    return QtCore.Property(kind, get, put), put


def properties(**specification: tuple[Any, ...]) -> dict[str, Any]:
    """``name=(type, default[, changed signal])`` as class members ``name`` and ``setName``.

    For a class body: ``vars().update(properties(flat=(bool, False)))``. Qt collects properties
    when the class statement ends, so they must be there by then.
    """
    members: dict[str, Any] = {}
    for name, spec in specification.items():
        setter = "set" + name[0].upper() + name[1:]
        members[name], members[setter] = stored(spec[0], name, *spec[1:])
    return members
