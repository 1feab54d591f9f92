"""MambaSynthLib: named source volumes go in, named synthetic volumes come out.

Importing the package loads NumPy and nothing heavier. The public names below are imported when they
are first used, and torch, SimpleITK and the rest inside the files that need them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from MambaSynthLib.cine.engine import CineEngine
    from MambaSynthLib.engine import Engine
    from MambaSynthLib.gate.admission import admit
    from MambaSynthLib.image.cine import Cine
    from MambaSynthLib.image.volume import Volume
    from MambaSynthLib.io.files import read_volume, write_volume
    from MambaSynthLib.mask.engine import MaskEngine
    from MambaSynthLib.model.registry import list_models, mask_model, model_for
else:
    _PLACES = {
        "Volume": "image.volume",
        "Cine": "image.cine",
        "Engine": "engine",
        "CineEngine": "cine.engine",
        "MaskEngine": "mask.engine",
        "admit": "gate.admission",
        "read_volume": "io.files",
        "write_volume": "io.files",
        "list_models": "model.registry",
        "mask_model": "model.registry",
        "model_for": "model.registry",
    }

    def __getattr__(name):
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)

    def __dir__():
        return sorted({*globals(), *_PLACES})


__all__ = [
    "Cine",
    "CineEngine",
    "Engine",
    "MaskEngine",
    "Volume",
    "__version__",
    "admit",
    "list_models",
    "mask_model",
    "model_for",
    "read_volume",
    "write_volume",
]
