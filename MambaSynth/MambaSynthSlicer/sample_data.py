"""A T1w head to try the module with, offered by Slicer's Sample Data module.

From the 3D MR image database of multiple sclerosis patients of the Laboratory of Imaging
Technologies, University of Ljubljana (CC-BY; cite Lesjak et al., Neuroinformatics 2017), in the
copy of the muschellij2/open_ms_data repository at one commit.
"""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError

NAME = "MambaSynthHeadT1w"
URL = (
    "https://raw.githubusercontent.com/muschellij2/open_ms_data/"
    "65704901f60650824565aa5a4818611aa89716f4/cross_sectional/MNI/patient07/"
    "T1_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"
)
SHA256 = "0d9e0c933140e64ba42931f5ed7aece2a7cc7001fe6c8d753720c487f5e1b8b1"


class SampleDataError(MambaSynthError):
    """The sample could not be downloaded."""


def register() -> None:
    """Called once Slicer has started: makes the sample known, downloads nothing."""
    from SampleData import SampleDataLogic

    SampleDataLogic.registerCustomSampleDataSource(
        category="MambaSynth",
        sampleName=NAME,
        uris=URL,
        fileNames=f"{NAME}.nii.gz",
        checksums=f"SHA256:{SHA256}",
        nodeNames="Head T1w",
        loadFileType="VolumeFile",
    )


def load() -> Any:
    """The node of the sample, downloaded on first use. Raises SampleDataError without network."""
    from SampleData import SampleDataLogic

    message = _(
        "The sample head could not be downloaded; check the network and the proxy settings, or "
        "load any T1w volume of your own instead."
    )
    try:
        node = SampleDataLogic().downloadSample(NAME)
    except (RuntimeError, OSError, ValueError) as error:
        raise SampleDataError(message) from error
    if node is None:
        raise SampleDataError(message)
    return node
