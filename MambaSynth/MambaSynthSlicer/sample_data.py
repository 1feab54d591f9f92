"""A T1w head to try the module with, offered by Slicer's Sample Data module.

The file (200 kB, CC-BY, see ``Resources/SampleData/README.md``) comes with the extension, so it
loads without a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError

CATEGORY, NAME = "MambaSynth", "MambaSynthHeadT1w"
FILE = Path(__file__).resolve().parent.parent / "Resources" / "SampleData" / "sub-19_T1w.nii.gz"
SHA256 = "93b85689b5d99a8d96b212da6d73d9befcee0abeacf4a067866b672a93998b32"


class SampleDataError(MambaSynthError):
    """The sample could not be loaded."""


def register() -> None:
    """Called once Slicer has started: makes the sample known, loads nothing."""
    from SampleData import SampleDataLogic

    SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=NAME,
        uris=FILE.as_uri(),
        fileNames=f"{NAME}.nii.gz",
        checksums=f"SHA256:{SHA256}",
        nodeNames="Head T1w",
    )


def load() -> Any:
    """The node of the sample. Raises SampleDataError where it cannot be copied or is damaged."""
    from SampleData import SampleDataLogic

    message = _(
        "The sample head could not be loaded; reinstall MambaSynth, or load a T1w volume of your "
        "own instead."
    )
    try:
        nodes = SampleDataLogic().downloadSamples(NAME)
    except (RuntimeError, OSError, ValueError) as error:
        raise SampleDataError(message) from error
    if not nodes or nodes[0] is None:
        raise SampleDataError(message)
    return nodes[0]
