"""The public names of MambaSynthLib, under the name that is installed: ``import mambasynth``.

It lies in a folder of its own because ``mambasynth`` and ``MambaSynth``, Slicer's module, are one
name to the file systems of Windows and macOS.
"""

from typing import TYPE_CHECKING

import MambaSynthLib
from MambaSynthLib import __version__ as __version__

if TYPE_CHECKING:
    from MambaSynthLib import Cine as Cine
    from MambaSynthLib import CineEngine as CineEngine
    from MambaSynthLib import Engine as Engine
    from MambaSynthLib import MaskEngine as MaskEngine
    from MambaSynthLib import Volume as Volume
    from MambaSynthLib import admit as admit
    from MambaSynthLib import list_models as list_models
    from MambaSynthLib import mask_model as mask_model
    from MambaSynthLib import model_for as model_for
    from MambaSynthLib import read_volume as read_volume
    from MambaSynthLib import write_volume as write_volume
else:
    __all__ = MambaSynthLib.__all__

    def __getattr__(name):
        if name in __all__:
            return getattr(MambaSynthLib, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return __all__
