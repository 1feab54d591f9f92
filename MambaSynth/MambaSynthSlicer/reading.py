"""What a reader compares: values under the cursor, the difference to an acquired target, scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.metrics import foreground
from MambaSynthLib.image.trivial import SHIFTED
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.provenance import TAG_PREFIX, UNCERTAINTY

from . import mrml, sequences

DIFFERENCE = "difference map"
LARGE = 0.5  # share of the synthetic image's window: a difference of the brightest color
SEEN_FROM = 0.15  # share of that color from which on a map is drawn
COLUMNS = (("SSIM", "ssim", ".3f"), ("PSNR", "psnr", ".1f"), ("NMI", "nmi", ".3f"))


def acquiredRefusal(acquired: Any) -> str | None:
    """Why a node is no acquired target, in one sentence; None: it may be one."""
    return None if acquired is None else mrml.refusal(acquired)


def spreadOf(source: Any) -> Any:
    """The uncertainty map made last from ``source``, or None."""
    return latestMap(UNCERTAINTY, source)


def latestMap(kind: str, source: Any = None) -> Any:
    """The map of a kind that was made last, from ``source`` or from anything; or None."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    quantity = mrml.QUANTITY_ATTRIBUTE
    maps = [node for node in volumes if (node.GetAttribute(quantity) or "").startswith(kind)]
    if source is not None:
        role = mrml.SOURCE_ROLE
        maps = [node for node in maps if node.GetNodeReferenceID(role) == source.GetID()]
    return maps[-1] if maps else None


# ------------------------------------------------------------------------------- under the cursor


def valueAt(node: Any, ras: Sequence[float]) -> float | None:
    """The value of the voxel that a point of the world, in RAS mm, lies in; None: outside."""
    index = np.linalg.inv(mrml.worldAffine(node)) @ [*ras, 1.0]
    voxel = np.rint(index[:3]).astype(int)
    image = node.GetImageData()
    if image is None or (voxel < 0).any() or (voxel >= image.GetDimensions()).any():
        return None
    return float(image.GetScalarComponentAsDouble(*map(int, voxel), 0))


def probeLine(source: Any, synthetic: Any, acquired: Any, ras: Sequence[float]) -> str:
    """``T1w 412 | T2w synthetic 233 ± 21 | T2w acquired 251``, of what lies at a point."""
    names = [
        synthetic.GetAttribute(TAG_PREFIX + key) for key in ("source_contrast", "target_contrast")
    ]
    spread = spreadOf(source)
    parts = [
        (names[0], valueAt(source, ras)),
        (_("{contrast} synthetic").format(contrast=names[1]), valueAt(synthetic, ras)),
        (_("{contrast} acquired").format(contrast=names[1]), acquired and valueAt(acquired, ras)),
    ]
    shown = [f"{name} {value:.0f}" for name, value in parts if value is not None]
    width = None if spread is None else valueAt(spread, ras)
    if width is not None and len(shown) > 1:
        shown[1] += f" \u00b1 {width:.0f}"
    return " | ".join(shown)


# ---------------------------------------------------------------------------- the acquired target


def onGridOf(node: Any, reference: Any) -> Volume:
    """``node`` as the library sees it, on the grid of ``reference``; linear between its voxels."""
    volume = mrml.readVolume(node)
    if sequences.sameGrid(node, reference):
        return volume
    from scipy import ndimage  # part of Slicer

    affine = mrml.worldAffine(reference)
    toNode = np.linalg.inv(volume.affine) @ affine
    shape = reference.GetImageData().GetDimensions()
    array = ndimage.affine_transform(
        volume.array,
        toNode[:3, :3],
        toNode[:3, 3],
        output_shape=shape,
        order=1,
        mode="grid-constant",
    )
    return Volume(array.astype(np.float32), affine, volume.name, volume.notes)


def differenceTo(acquired: Any, synthetic: Any) -> np.ndarray:
    """(I,J,K) |synthetic - acquired|, in the units of the synthetic image.

    The acquired image has units of its own: it gets the gain and the offset that bring it nearest.
    Where both show air there is no difference: the offset is that of tissue.
    """
    wanted = np.asarray(onGridOf(acquired, synthetic).array, np.float64)
    made = np.asarray(mrml.readVolume(synthetic).array, np.float64)
    inside = foreground(wanted)
    if not inside.any() or np.ptp(wanted[inside]) == 0:
        message = _("{name} shows nothing where the synthetic volume lies; select another target.")
        raise RequestError(message.format(name=acquired.GetName()))
    gain, offset = np.polyfit(wanted[inside], made[inside], 1)
    apart = np.abs(made - (gain * wanted + offset))
    return np.where(inside | foreground(made), apart, 0).astype(np.float32)


def differenceNode(acquired: Any, synthetic: Any) -> Any:
    """A marked volume with the difference in colors; one takes the place of another."""
    array = differenceTo(acquired, synthetic)
    name = f"{synthetic.GetName()} {DIFFERENCE}"
    node = latestMap(DIFFERENCE) or mrml.newVolumeNode(synthetic, name)
    volume = Volume(array, mrml.worldAffine(synthetic), node.GetName())
    mrml.fill(node, volume, synthetic)
    told = _("{map}: absolute difference to {name}, which got a gain and an offset for it")
    provenance = replace(
        mrml.provenanceOf(synthetic),
        quantity=told.format(map=DIFFERENCE, name=acquired.GetName()),
        units="those of the synthetic image",
    )
    mrml.markSynthetic(node, provenance, synthetic)
    node.SetSaveWithScene(False)
    made = synthetic.GetDisplayNode()
    mrml.setColors(node, LARGE * (made.GetWindowLevelMax() - made.GetWindowLevelMin()))
    return node


def showColors(node: Any, shown: bool) -> None:
    """Small values are left out, so that the image below can be seen; and a color bar."""
    display = node.GetDisplayNode()
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    display.SetThreshold(low + SEEN_FROM * (high - low), vtk.VTK_FLOAT_MAX)
    display.SetApplyThreshold(shown)
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node)
    legend.SetVisibility(shown)


def scores(source: Any, synthetic: Any, acquired: Any) -> list[tuple[str, ...]]:
    """Rows (name, SSIM, PSNR, NMI): the synthetic image, and the best answer without a model.

    Raises VolumeError (nothing to score) or RequestError (scikit-image is missing).
    """
    from MambaSynthLib.report.evaluation import evaluate

    reference = onGridOf(acquired, synthetic)
    made, taken = (mrml.readVolume(node) for node in (synthetic, source))
    own, *others = evaluate(made, reference, source=taken).rows
    answers = [row for row in others if not row.name.startswith(SHIFTED)]
    best = max(answers, key=lambda row: row.ssim)
    return [
        (name, *(format(getattr(row, field), form) for _title, field, form in COLUMNS))
        for name, row in ((_("synthetic"), own), (best.name, best))
    ]
