"""Engines for other computers, as tests of them need: with a fake one behind, and listened to."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.server.listen import Listener
from MambaSynthLib.server.remote import Remote
from MambaSynthLib.server.session import Limits

ROOT = Path(__file__).resolve().parents[3]
FAKE = (sys.executable, str(ROOT / "Testing" / "slicer" / "fake_engine.py"), "--in-memory")
TOKEN = "a token of more than twenty letters"


class Engine:
    """A listener in a thread, with the fake engine of the Slicer tests unless told otherwise."""

    def __init__(self, megabytes=1.0, longest_s=60.0, command=FAKE, context=None):
        limits = Limits(int(megabytes * 1e6), longest_s)
        self.listener = Listener(("127.0.0.1", 0), TOKEN, limits, context, command)
        self.host, self.port = self.listener.address
        threading.Thread(target=self.listener.run, daemon=True).start()

    def remote(self, token=TOKEN, port=None):
        return Remote(self.host, port or self.port, token)

    def ask(self, volume, model="inverter", **how):
        request = {"do": "synthesize", "model": model, "seed": 0}
        return self.remote().ask(request, {"T1w": volume}, **how)

    def process(self):
        """The id of the engine's process, or None where none was started."""
        process = self.listener._child._process
        return process and process.pid

    def socket(self):
        return socket.create_connection((self.host, self.port), 5)


def head_volume(name="DOE_JANE_T1w.nii.gz", shape=(5, 6, 7), seed=1):
    """On an oblique grid whose numbers have no short decimal form."""
    array = np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)
    affine = np.diag([-0.9, 1 / 3, 3.0, 1.0])
    affine[:3, 3] = [np.pi, -np.e, 1e-17]
    return Volume(array, affine, name, ("DOE wrote this note",))


def inverted(volume):
    """What the fake engine makes of it."""
    return volume.array.max() - volume.array


def wait(done, seconds=10.0):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


@contextlib.contextmanager
def tapped(port):
    """A forwarder to a port of this computer: (its own port, what went through it)."""
    heard = bytearray()
    server = socket.create_server(("127.0.0.1", 0))

    def pump(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                heard.extend(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def forward():
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                engine = socket.create_connection(("127.0.0.1", port))
                for pair in ((client, engine), (engine, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=forward, daemon=True).start()
    with server:
        yield server.getsockname()[1], heard
