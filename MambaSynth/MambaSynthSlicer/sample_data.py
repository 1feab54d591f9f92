"""A T1w head to try the module with: MRHead, which Slicer's own Sample Data module downloads."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError

NAME = "MRHead"  # a whole head, given to the Slicer project by the person it shows


class SampleDataError(MambaSynthError):
    """The sample could not be loaded."""


def load() -> Any:
    """The volume node of the sample, downloaded unless Slicer has it in its cache.

    Raises SampleDataError where it cannot be downloaded or is damaged.
    """
    from SampleData import SampleDataLogic

    message = _(
        "The sample head MRHead could not be downloaded; check the network, or load a T1w volume "
        "of your own instead."
    )
    try:
        with slicer.util.WaitCursor():
            nodes = SampleDataLogic().downloadSamples(NAME)
    except (RuntimeError, OSError, ValueError) as error:
        raise SampleDataError(message) from error
    # Without a network Slicer raises nothing: it returns no node, or the paths of the files.
    if not nodes or not isinstance(nodes[0], slicer.vtkMRMLScalarVolumeNode):
        raise SampleDataError(message)
    return nodes[0]
