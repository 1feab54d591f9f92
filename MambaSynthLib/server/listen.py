"""The engine for other computers: ``mambasynth serve --listen``.

    clients == token, JSON lines, voxels ==> one thread a client -- turns --> one engine's process

Off unless it is asked for. Who does not know the token learns nothing. On any address but that of
the computer itself, which an SSH tunnel leads to, it speaks TLS or not at all.

Voxels and their geometry are held in memory for the length of a run; no name, note or path comes
here. Neither this process nor the engine's writes a file, and a crash leaves no core dump.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.io.payload import shown
from MambaSynthLib.server.address import is_own_computer
from MambaSynthLib.server.engine_child import COMMAND, EngineChild
from MambaSynthLib.server.session import GREETING_S, Limits, Session
from MambaSynthLib.server.turns import Turns
from MambaSynthLib.server.wire import Channel, Gone

MOST_CLIENTS = 8
FULL = f"The engine has {MOST_CLIENTS} clients; try again in a minute."


def tls_of(certificate: Path | None, key: Path | None, host: str) -> ssl.SSLContext | None:
    """What encrypts; None on the computer itself. Raises RequestError, FileError."""
    if certificate is None or key is None:
        if certificate or key:
            raise RequestError("--certificate and --key go together; give both.")
        if not is_own_computer(host):
            raise RequestError(
                f"{host} can be reached by others, who could read what is sent; add --certificate "
                "and --key for TLS, or listen on 127.0.0.1 and let clients come through an SSH "
                "tunnel."
            )
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise FileError(
            f"{shown(certificate)}, {shown(key)}: are no certificate and its key "
            f"({getattr(error, 'reason', None) or error.strerror or error}); give PEM files that "
            "belong together."
        ) from error
    return context


def log(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Listener:
    """Takes clients in until it is interrupted. Raises RequestError: the address is not to be had.

    ``address`` is the real one, where port 0 was asked for.
    """

    def __init__(
        self,
        address: tuple[str, int],
        token: str,
        limits: Limits,
        context: ssl.SSLContext | None = None,
        command: Sequence[str] = COMMAND,
    ):
        self._token, self._limits, self._context = token, limits, context
        self._child, self._turns = EngineChild(command), Turns()
        self._slots = threading.BoundedSemaphore(MOST_CLIENTS)
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            self._socket = socket.create_server(address, family=family)
        except OSError as error:
            raise RequestError(
                f"{address[0]}:{address[1]}: cannot be listened on ({error.strerror or error}); "
                "choose another address or port."
            ) from error
        self.address = self._socket.getsockname()[:2]

    def run(self) -> None:
        """Until KeyboardInterrupt, or ``close``."""
        try:
            while True:
                try:
                    connection, peer = self._socket.accept()
                except OSError:
                    return  # closed
                client = threading.Thread(
                    target=self._serve, args=(connection, f"{peer[0]}:{peer[1]}"), daemon=True
                )
                client.start()
        finally:
            self.close()

    def close(self) -> None:
        with suppress(OSError):  # wakes the thread that accepts
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._child.end()

    def _serve(self, connection: socket.socket, name: str) -> None:
        with connection:
            if not self._slots.acquire(blocking=False):
                log(f"{name}: refused: {MOST_CLIENTS} clients are here")
                if self._context is None:  # with TLS it would take longer than there is time
                    told = {"event": "failed", "message": FULL}
                    with suppress(Gone):
                        Channel(connection).send(told)
                return
            try:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                connection.settimeout(GREETING_S)
                channel = Channel(self._encrypted(connection))
                Session(
                    channel, name, self._token, self._limits, self._child, self._turns, log
                ).serve()
                channel.close()
            except (OSError, MemoryError) as error:
                log(f"{name}: left: {getattr(error, 'strerror', None) or type(error).__name__}")
            finally:
                self._slots.release()

    def _encrypted(self, connection: socket.socket) -> socket.socket:
        """Raises OSError (of which SSLError and TimeoutError are kinds)."""
        if self._context is None:
            return connection
        return self._context.wrap_socket(connection, server_side=True)


def leave_no_core_dump() -> None:
    """A dump of this process or of the engine's would hold voxels."""
    with suppress(ImportError, ValueError, OSError):  # Windows writes none unless told to
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
