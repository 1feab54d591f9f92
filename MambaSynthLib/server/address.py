"""Where an engine for other computers is."""

from __future__ import annotations

import ipaddress

from MambaSynthLib.errors import RequestError

LARGEST_PORT = 65535


def address_of(text: str) -> tuple[str, int]:
    """'127.0.0.1:8765' or '[::1]:8765' -> host and port. Raises RequestError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > LARGEST_PORT:
        raise RequestError(f"{text!r} is no address; give HOST:PORT, such as 127.0.0.1:8765.")
    return host, int(port)


def is_own_computer(host: str) -> bool:
    """Whether nobody can listen on the way there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
