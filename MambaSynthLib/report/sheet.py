"""The sheet of a report: a dark figure, measured in inches, that is the same bytes each time."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from MambaSynthLib.errors import RequestError
from MambaSynthLib.installation import how_to_install

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 160
GAP_INCHES = 0.06
LINE_INCHES, GLYPH_INCHES = 1.3 / 72, 0.65 / 72  # per point of font size; hinting widens glyphs
FONT = "DejaVu Sans Mono"  # ships with matplotlib, so that pictures do not depend on the machine
BACKGROUND, INK = "#101214", "#d8dde2"


class Sheet:
    """A dark figure on which things are placed in inches from its top left corner."""

    def __init__(self, width: float, height: float) -> None:
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise RequestError(
                f"Reports need matplotlib, which is not installed; {how_to_install('report')}."
            ) from error
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=DPI, facecolor=BACKGROUND)
        self.canvas: Any = FigureCanvasAgg(self.figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without frame or ticks."""
        bottom = 1 - (top + height) / self.height
        size = (width / self.width, height / self.height)
        axes = self.figure.add_axes((left / self.width, bottom, *size))
        axes.set_axis_off()
        return axes

    def text(self, x: float, top: float, text: str, points: int, **style: Any) -> None:
        """Lines of text below ``top``; literally, so that ``$`` starts no formula."""
        style |= {"fontsize": points, "family": FONT, "color": INK, "parse_math": False}
        style |= {"verticalalignment": "top", "linespacing": 1.15}
        self.figure.text(x / self.width, 1 - top / self.height, text, **style)

    def png(self, description: str) -> bytes:
        """The same bytes on each call: no date, no version of matplotlib."""
        buffer = io.BytesIO()
        self.canvas.print_png(buffer, metadata={"Software": None, "Description": description})
        return buffer.getvalue()


def wrapped(lines: Sequence[str], inches: float, points: int) -> str:
    """The lines, broken where they would leave a box of this width."""
    glyphs = int((inches - 2 * GAP_INCHES) / (GLYPH_INCHES * points))
    return "\n".join(textwrap.fill(line, glyphs) for line in lines)


def text_inches(text: str, points: int) -> float:
    """The height of lines of text with the gap below them; 0 where there is none."""
    return (text.count("\n") + 1) * LINE_INCHES * points + GAP_INCHES if text else 0.0
