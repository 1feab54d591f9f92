"""What stands in a view, and what it is said of: shared by slice views and 3-D views."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from MambaSynthLib.provenance import MARK

from .mrml import FRAME_ATTRIBUTE, QUANTITY_ATTRIBUTE, isSynthetic

COLOR = (1.0, 0.78, 0.24)
FIXED_LAYERS = 3  # background, foreground, label; further ones follow


def textIn(view: Any) -> Any:
    """An empty annotation in a view, which its caller fills."""
    text = vtk.vtkCornerAnnotation()
    text.SetMaximumFontSize(14)
    text.GetTextProperty().SetColor(*COLOR)
    text.GetTextProperty().SetShadow(True)
    view.renderWindow().GetRenderers().GetFirstRenderer().AddViewProp(text)
    return text


def shownIn(composite: Any) -> list[Any]:
    """The volumes of a slice view that can be seen, however faintly: all layers but transparent
    ones.
    """
    layers = range(FIXED_LAYERS + composite.GetNumberOfAdditionalLayers())
    ids = (
        composite.GetNthLayerVolumeID(layer)
        for layer in layers
        if layer == composite.LayerBackground or composite.GetNthLayerOpacity(layer) > 0
    )
    nodes = (slicer.mrmlScene.GetNodeByID(nodeId) for nodeId in ids if nodeId)
    return [node for node in nodes if node is not None]


def markOf(nodes: list[Any]) -> str:
    """The mark where one is synthetic; that a frame between such is acquired; else nothing."""
    maps = [node.GetAttribute(QUANTITY_ATTRIBUTE) for node in nodes]
    named = next((told.split(":")[0] for told in maps if told is not None), None)
    if named is not None:  # uncertainty map, difference map
        return f"{MARK}\n{named}"
    if any(isSynthetic(node) for node in nodes):
        return MARK
    frames = any(node.GetAttribute(FRAME_ATTRIBUTE) == "acquired" for node in nodes)
    return _("acquired frame") if frames else ""
