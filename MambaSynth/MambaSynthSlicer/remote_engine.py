"""Where another computer computes: kept in this user's settings.

Never in the scene: a scene comes from somebody else, and must not say where a patient's voxels go.
"""

from __future__ import annotations

from dataclasses import dataclass

import qt
import slicer

ADDRESS, TOKEN, CERTIFICATE = (
    f"MambaSynth/engine/{name}" for name in ("address", "token", "certificate")
)


@dataclass(frozen=True)
class RemoteEngine:
    """HOST:PORT, and the files with its token and, where the system does not know who signed it,
    its certificate.
    """

    address: str
    token: str
    certificate: str = ""


def kept() -> RemoteEngine:
    """What stands in the settings; without an address, this computer computes."""
    return RemoteEngine(*(slicer.util.settingsValue(k, "") for k in (ADDRESS, TOKEN, CERTIFICATE)))


def chosen() -> RemoteEngine | None:
    engine = kept()
    return engine if engine.address else None


def keep(engine: RemoteEngine) -> None:
    values = engine.address, engine.token, engine.certificate
    for key, value in zip((ADDRESS, TOKEN, CERTIFICATE), values, strict=True):
        qt.QSettings().setValue(key, value)


def arguments() -> list[str]:
    """For the child process, which asks the other computer; see the library's ``relay.py``."""
    engine = chosen()
    if engine is None:
        return []
    words = ["--engine", engine.address, "--token", engine.token]
    return words + (["--certificate", engine.certificate] if engine.certificate else [])
