"""The report of a synthetic volume: one page with its pictures, its scores and what made it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from MambaSynthLib import __version__
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.provenance import Provenance
from MambaSynthLib.report.page import Text, write_page

from . import models, mrml, reading


def write(path: Path, source: Any, synthetic: Any, acquired: Any, entry: Any) -> None:
    """``acquired``: the acquired target or None. ``entry``: the model, where it is still there.

    Raises VolumeError, FileError or RequestError; nothing is left behind then.
    """
    affine = mrml.worldAffine(synthetic)
    made = Volume(mrml.readVolume(synthetic).array, affine, synthetic.GetName())
    taken = Volume(mrml.readVolume(source).array, mrml.worldAffine(source), source.GetName())
    reference, rows = None, []
    if acquired is not None:
        reference = Volume(reading.onGridOf(acquired, synthetic).array, affine, acquired.GetName())
        head = ["", *(title for title, *_rest in reading.COLUMNS)]
        rows = [head, *reading.scores(source, synthetic, acquired)]
    provenance = mrml.provenanceOf(synthetic)
    write_page(
        path,
        Text(synthetic.GetName(), rows, linesOf(provenance, entry)),
        source=taken,
        synthetic=made,
        reference=reference,
        contrasts=(provenance.source_contrast, provenance.target_contrast),
        through=middleOfView(),
    )


def linesOf(provenance: Provenance, entry: Any) -> list[str]:
    """What made it, its limits and warnings, and with which versions this page was written."""
    lines = [provenance.sentence(), provenance.computing().capitalize() + "."]
    lines += [_("Warning: {text}").format(text=text) for text in provenance.warnings]
    if entry is not None:
        lines += ["", _("What the model cannot do:"), *models.limitsOf(entry).splitlines()]
    app = slicer.app
    written = _("{software}; page written {date} by MambaSynth {version} in 3D Slicer {slicer}.")
    told = written.format(
        software=provenance.software,
        date=time.strftime("%Y-%m-%d %H:%M"),
        version=__version__,
        slicer=f"{app.majorVersion}.{app.minorVersion}",
    )
    return [*lines, "", told]


def middleOfView() -> np.ndarray | None:
    """(3,) RAS mm in the middle of the red slice view, whose slices the page shows."""
    manager = slicer.app.layoutManager()
    if manager is None or manager.sliceWidget("Red") is None:
        return None
    matrix = manager.sliceWidget("Red").mrmlSliceNode().GetSliceToRAS()
    return np.array([matrix.GetElement(row, 3) for row in range(3)])
