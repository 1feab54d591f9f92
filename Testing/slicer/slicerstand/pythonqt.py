"""PythonQt's rules for Qt objects, on top of PySide6.

| rule                                                    | here                              |
|---------------------------------------------------------|-----------------------------------|
| a Qt property is an attribute: ``label.text = "a"``     | ``QtProperty``                    |
| a wrong type or a read-only property: AttributeError    | ``QtProperty.__set__``            |
| an enumerated property reads as int                     | ``plain``                         |
| no new attributes on C++ objects: a typo is an error    | ``PythonQtObject.__setattr__``    |
| ``connect("signal(type)", f)``, the signature must exist| ``PythonQtObject.connect``        |
| a slot gets no more arguments than it takes             | ``positional_count``              |
| an exception in a slot does not propagate               | ``guarded`` (written down)        |
| ``name`` is ``objectName``; ``className()``; ``delete``| ``PythonQtObject``                |

Stricter than PythonQt in one point: an unknown signal raises, where Slicer prints and goes on.
"""

from __future__ import annotations

import enum
import inspect
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import shiboken6
from PySide6 import QtCore

from . import record

INTEGERS = ("int", "uint", "qlonglong")
REALS = ("double", "float")


def plain(value: Any) -> Any:
    """Enumerations become the int that PythonQt shows."""
    return int(value.value) if isinstance(value, enum.Enum) else value


# ------------------------------------------------------------------------------- properties


def accepted(value: Any, type_name: str) -> tuple[bool, Any]:
    """Whether PythonQt takes ``value`` for a property of C++ type ``type_name``, and as what."""
    if type_name == "QString":
        return True, "" if value is None else str(value)
    if type_name in INTEGERS and isinstance(value, (bool, float)):
        return True, int(value // 1)
    if type_name in REALS and isinstance(value, int):
        return True, float(value)
    if type_name in (*INTEGERS, *REALS) and isinstance(value, str):
        return False, value
    if type_name == "bool":
        return value is None or isinstance(value, int), bool(value)
    return True, value


_being_read: set[tuple[int, str]] = set()


class QtProperty:
    """One Qt property as a Python attribute."""

    def __init__(self, meta: QtCore.QMetaProperty, static: Callable[..., Any] | None = None):
        self.name = meta.name()
        self.writable = meta.isWritable()
        self.type_name = meta.typeName()
        self.static = static  # a static method of the same name, reachable through the class

    def __get__(self, widget: Any, owner: type) -> Any:
        if widget is None:
            return self.static or self
        key = (id(widget), self.name)
        if key in _being_read:  # a virtual getter: PySide asks whether Python overrides it
            return None
        _being_read.add(key)
        try:
            return plain(QtCore.QObject.property(widget, self.name))
        finally:
            _being_read.discard(key)

    def __set__(self, widget: Any, value: Any) -> None:
        kind = type(widget).__name__
        if not self.writable:
            raise AttributeError(f"Property '{self.name}' of {kind} object is not writable")
        fits, converted = accepted(value, self.type_name)
        if not fits or not self._put(widget, converted):
            raise AttributeError(
                f"Property '{self.name}' of type '{self.type_name}' of {kind} does not accept an "
                f"object of type {type(value).__name__} ({value!r})"
            )

    def _put(self, widget: Any, value: Any) -> bool:
        put = QtCore.QObject.setProperty
        return put(widget, self.name, value) or (
            isinstance(value, enum.Enum) and put(widget, self.name, plain(value))
        )


def expose_properties(cls: type) -> None:
    """Turn the Qt properties that ``cls`` itself declares into attributes."""
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        prop = meta.property(index)
        if prop.name() in ("sizeHint", "minimumSizeHint"):
            continue  # virtual methods too: they must stay callable
        static = single_shot if prop.name() == "singleShot" else None
        setattr(cls, prop.name(), QtProperty(prop, static))


# ---------------------------------------------------------------------------------- signals


class Connection(NamedTuple):
    signature: str
    slot: Callable[..., Any]
    signal: Any
    call: Callable[..., None]


def normalized(signature: str) -> str:
    return bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()


def argument_types(signature: str) -> list[str]:
    return [a for a in signature[signature.index("(") + 1 : -1].split(",") if a]


def positional_count(slot: Callable[..., Any]) -> int | None:
    """How many positional arguments a Python slot takes; None: as many as there are."""
    bound = inspect.ismethod(slot)
    function = slot.__func__ if bound else slot
    if not inspect.isfunction(function) or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - int(bound)


def guarded(slot: Callable[..., Any], sender: Any, signal: str) -> Callable[..., None]:
    """``slot`` as PythonQt calls it: surplus arguments dropped, exceptions kept from Qt."""
    takes = positional_count(slot)

    def call(*arguments: Any) -> None:
        try:
            slot(*arguments[:takes])
        except Exception as error:  # whatever it is, Qt must not see it: PythonQt's rule
            record.slot_errors.append(record.SlotError(sender, signal, error))
            traceback.print_exc()

    return call


def find_signal(sender: Any, signature: str) -> tuple[Any, int] | None:
    """The PySide signal of a normalized C++ signature and its number of arguments."""
    types = argument_types(signature)
    aliases = getattr(type(sender), "SIGNAL_ALIASES", {})
    if signature in aliases:
        return getattr(sender, aliases[signature]), len(types)
    if sender.metaObject().indexOfSignal(signature) < 0:
        return None
    signal = getattr(sender, signature[: signature.index("(")])
    if types:
        try:
            signal = signal[tuple(types) if len(types) > 1 else types[0]]
        except (KeyError, IndexError, TypeError):
            pass  # not overloaded under that key: the plain signal is the one
    return signal, len(types)


_running_timers: set[QtCore.QTimer] = set()


def single_shot(milliseconds: float, slot: Callable[[], Any]) -> None:
    """``QTimer.singleShot`` whose slot's exceptions are written down."""
    timer = QtCore.QTimer()
    timer.setSingleShot(True)
    _running_timers.add(timer)
    run = guarded(slot, None, "singleShot")

    def fire() -> None:
        _running_timers.discard(timer)
        run()

    timer.timeout.connect(fire)
    timer.start(int(milliseconds))


# ---------------------------------------------------------------------------------- objects


class PythonQtObject:
    """Mixed into every QObject class that the stand-in shows."""

    _cpp = False  # True in a class that stands for a C++ one; Python subclasses may add attributes

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for method in ("connect", "disconnect"):  # PySide looks only into the class itself
            if method not in cls.__dict__:
                setattr(cls, method, getattr(PythonQtObject, method))

    def connect(self, signal: Any, *target: Any) -> bool:
        if isinstance(signal, QtCore.QObject):  # PySide's own static QObject.connect
            return QtCore.QObject.connect(signal, *target)
        slot = target[0]
        if len(target) == 2 and isinstance(target[1], str):  # (signal, receiver, "slot(types)")
            slot = getattr(target[0], target[1].split("(")[0])
        if not callable(slot):
            raise TypeError(f"connect({signal!r}): {slot!r} is not callable")
        signature = normalized(signal)
        found = find_signal(self, signature)
        if found is None:
            raise ValueError(f"signal '{signal}' does not exist on {type(self).__name__}")
        qt_signal, count = found
        run = guarded(slot, self, signal)

        def call(*arguments: Any) -> None:
            run(*arguments[:count])

        qt_signal.connect(call)
        connections = self.__dict__.setdefault("_connections", [])
        connections.append(Connection(signature, slot, qt_signal, call))
        return True

    def disconnect(self, signal: Any = None, slot: Any = None, *rest: Any) -> bool:
        if isinstance(signal, QtCore.QObject):
            return QtCore.QObject.disconnect(signal, slot, *rest)
        connections = self.__dict__.get("_connections", [])
        ended = [
            c
            for c in connections
            if (signal is None or c.signature == normalized(signal))
            and (slot is None or c.slot == slot)
        ]
        for connection in ended:
            connection.signal.disconnect(connection.call)
        self.__dict__["_connections"] = [c for c in connections if c not in ended]
        return bool(ended)

    def _dynamic_properties(self) -> list[str]:
        return [bytes(n.data()).decode() for n in self.dynamicPropertyNames()]

    def __setattr__(self, key: str, value: Any) -> None:
        cls = type(self)
        if key.startswith("_") or not cls.__dict__.get("_cpp", False):
            super().__setattr__(key, value)
        elif hasattr(cls, key):
            refuse_overwriting(cls, key)
            super().__setattr__(key, value)
        elif key in self._dynamic_properties():
            self.setProperty(key, value)
        else:
            raise AttributeError(
                f"'{key}' does not exist on {cls.__name__} and creating new attributes on C++ "
                "objects is not allowed"
            )

    def __getattr__(self, key: str) -> Any:
        if not key.startswith("__") and key in self._dynamic_properties():
            return self.property(key)
        raise AttributeError(f"{type(self).__name__} has no attribute named '{key}'")

    def findChildren(self, kind: Any = None, *rest: Any, **named: Any) -> Any:
        return QtCore.QObject.findChildren(self, qt_base(kind), *rest, **named)

    def findChild(self, kind: Any = None, *rest: Any, **named: Any) -> Any:
        return QtCore.QObject.findChild(self, qt_base(kind), *rest, **named)

    def className(self) -> str:
        return self.metaObject().className()

    def delete(self) -> None:
        shiboken6.delete(self)

    name = property(lambda self: self.objectName, lambda self, value: self.setObjectName(value))


def refuse_overwriting(cls: type, key: str) -> None:
    """``button.click = f`` and ``button.clicked = f`` are errors on C++ objects."""
    member = inspect.getattr_static(cls, key, None)
    settable = hasattr(type(member), "__set__") or isinstance(member, QtCore.Property)
    if member is not None and not settable:
        kind = "Signal" if isinstance(member, QtCore.Signal) else "Slot"
        raise AttributeError(f"{kind} '{key}' can not be overwritten on {cls.__name__} object")


def qt_base(kind: Any) -> Any:
    """The PySide class behind a class of the ``qt`` module."""
    if kind is None:
        return QtCore.QObject
    return kind.__dict__.get("_qt_base", kind)


class QtMeta(type(QtCore.QObject)):
    """Makes ``isinstance(x, qt.QWidget)`` true for widgets of every sibling class."""

    def __instancecheck__(cls, candidate: Any) -> bool:
        base = cls.__dict__.get("_qt_base")
        return isinstance(candidate, base) if base else super().__instancecheck__(candidate)

    def __subclasscheck__(cls, candidate: type) -> bool:
        base = cls.__dict__.get("_qt_base")
        return issubclass(candidate, base) if base else super().__subclasscheck__(candidate)


def wrapped(name: str, base: type, **members: Any) -> type:
    """A class of the ``qt`` module: ``base`` under PythonQt's rules."""
    expose_properties(base)
    namespace = {"_cpp": True, "_qt_base": base, "__module__": "qt", **members}
    return QtMeta(name, (PythonQtObject, base), namespace)
