"""Something to try the module with: MRHead, which Slicer's own Sample Data module downloads, and a
beating heart that is computed.
"""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError
from MambaSynthLib.phantom.heart import computed_heart

from . import mrml, sequences

NAME = "MRHead"  # a whole head, given to the Slicer project by the person it shows


HEART = "Computed heart"
HEART_FRAMES = 8


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


def computeHeart() -> Any:
    """The sequence of a coarse cine from formulas, with a browser that shows it."""
    with slicer.util.WaitCursor():
        cine = computed_heart(HEART_FRAMES)
    sequence = sequences.newSequence()
    for volume, timeMs in zip(cine.frames, cine.times_ms, strict=True):
        frame = slicer.vtkMRMLScalarVolumeNode()
        frame.SetName(f"{HEART} {timeMs:.0f} ms")
        slicer.util.updateVolumeFromArray(frame, volume.array.transpose(2, 1, 0).copy())
        frame.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.affine))
        sequence.SetDataNodeAtValue(frame, f"{timeMs:.3f}")
    sequence.SetName(slicer.mrmlScene.GenerateUniqueName(HEART))
    slicer.mrmlScene.AddNode(sequence)
    proxy = sequences.join(sequence, None).GetProxyNode(sequence)
    mrml.setWindow(proxy, *mrml.window(cine.frames[0].array))
    return sequence
