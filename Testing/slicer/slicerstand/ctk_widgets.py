"""The ``ctk`` module: CTK widgets of scripted modules, named as in CTK's public headers."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from .qt_module import qt
from .standins import CLASSES, cpp_class, properties

TITLE_HEIGHT = 22
UNLIMITED = 16777215  # Qt's QWIDGETSIZE_MAX


def direct_children(widget: Any) -> list[Any]:
    return widget.findChildren(QtWidgets.QWidget, options=Qt.FindDirectChildrenOnly)


@cpp_class
class ctkCollapsibleButton(qt.QAbstractButton):
    """A titled box that folds when its title is clicked."""

    contentsCollapsed = Signal(bool)
    vars().update(
        properties(
            collapsed=(bool, False, "contentsCollapsed"),
            collapsedHeight=(int, 10),
            flat=(bool, False),
            contentsFrameShape=(int, 0),
            contentsFrameShadow=(int, 0),
            contentsLineWidth=(int, 1),
            contentsMidLineWidth=(int, 0),
        )
    )

    def __init__(self, text: Any = "", parent: Any = None):
        if isinstance(text, QtWidgets.QWidget):
            text, parent = "", text
        super().__init__(parent)
        self.setText(text or "")
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(2, TITLE_HEIGHT + 2, 2, 2)
        preferred = QtWidgets.QSizePolicy.Preferred
        self.setSizePolicy(preferred, preferred)
        self.toggled.connect(lambda on: self.setCollapsed(not on))

    def _changed_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)
        for child in direct_children(self):
            child.setVisible(not collapsed)
        self.setMaximumHeight(TITLE_HEIGHT + 2 if collapsed else UNLIMITED)
        self.updateGeometry()

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < TITLE_HEIGHT + 2

    def _folded(self) -> bool:
        return self.collapsed or self.layout() is None

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(160, 24) if self._folded() else self.layout().totalSizeHint()

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(80, 24) if self._folded() else self.layout().totalMinimumSize()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        width = self.rect.width()
        title = QtWidgets.QStyleOptionButton()
        title.initFrom(self)
        title.rect = QtCore.QRect(0, 0, width, TITLE_HEIGHT)
        painter.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, title)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, 5, 12, 12)
        style = QtWidgets.QStyle
        shape = style.PE_IndicatorArrowRight if self.collapsed else style.PE_IndicatorArrowDown
        painter.drawPrimitive(shape, arrow)
        flags = int(Qt.AlignVCenter.value) | int(Qt.AlignLeft.value)
        painter.drawText(QtCore.QRect(24, 0, width - 24, TITLE_HEIGHT), flags, self.text)
        if not self.collapsed:
            painter.setPen(self.palette.mid().color())
            height = self.rect.height()
            painter.drawRect(0, TITLE_HEIGHT, width - 1, height - TITLE_HEIGHT - 1)


@cpp_class
class ctkCollapsibleGroupBox(qt.QGroupBox):
    vars().update(properties(collapsed=(bool, False), collapsedHeight=(int, 14)))

    def _changed_collapsed(self, collapsed: bool) -> None:
        for child in direct_children(self):
            child.setVisible(not collapsed)


class SliderWithBox(qt.QWidget):
    """A slider and a spin box that show one floating-point value."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)
    SIGNAL_ALIASES = {
        "valueChanged(double)": "valueChanged",
        "valueIsChanging(double)": "valueIsChanging",
        "valueChanged()": "valueChanged",
    }
    TICKS = 1000
    vars().update(
        properties(
            pageStep=(float, 10.0),
            tickInterval=(float, 0.0),
            tracking=(bool, True),
            spinBoxVisible=(bool, True),
            popupSlider=(bool, False),
            invertedAppearance=(bool, False),
            invertedControls=(bool, False),
        )
    )

    def __init__(self, parent: Any = None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = qt.QSlider(Qt.Horizontal)
        self._box = qt.QDoubleSpinBox()
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._following = False  # True while the slider is moved to follow the box
        self._slider.setRange(0, self.TICKS)
        self._box.setRange(0.0, 99.99)
        self._box.valueChanged.connect(self._box_changed)
        self._slider.valueChanged.connect(self._slider_moved)

    def _slider_moved(self, tick: int) -> None:
        if not self._following:
            value = self.minimum + (self.maximum - self.minimum) * tick / self.TICKS
            self.valueIsChanging.emit(value)
            self.setValue(value)

    def _box_changed(self, value: float) -> None:
        self._follow_box()
        self.valueChanged.emit(value)

    def _follow_box(self) -> None:
        extent = self.maximum - self.minimum
        fraction = (self._box.value - self.minimum) / extent if 0 < extent < 1e300 else 0
        self._following = True
        self._slider.setValue(round(self.TICKS * fraction))
        self._following = False

    def _changed_spinBoxVisible(self, visible: bool) -> None:
        self._box.setVisible(visible)

    def setValue(self, value: float) -> None:
        self._box.setValue(float(value))
        self._follow_box()

    def setMinimum(self, value: float) -> None:
        self._box.setMinimum(float(value))
        self._follow_box()

    def setMaximum(self, value: float) -> None:
        self._box.setMaximum(float(value))
        self._follow_box()

    def setRange(self, low: float, high: float) -> None:
        self._box.setRange(float(low), float(high))
        self._follow_box()

    def setDecimals(self, count: int) -> None:
        self._box.setDecimals(int(count))
        self.decimalsChanged.emit(int(count))

    def setSingleStep(self, value: float) -> None:
        self._box.setSingleStep(float(value))

    def setSuffix(self, text: str) -> None:
        self._box.setSuffix(text)

    def setPrefix(self, text: str) -> None:
        self._box.setPrefix(text)

    value = Property(float, lambda self: self._box.value, setValue)
    minimum = Property(float, lambda self: self._box.minimum, setMinimum)
    maximum = Property(float, lambda self: self._box.maximum, setMaximum)
    decimals = Property(int, lambda self: self._box.decimals, setDecimals)
    singleStep = Property(float, lambda self: self._box.singleStep, setSingleStep)
    suffix = Property(str, lambda self: self._box.suffix, setSuffix)
    prefix = Property(str, lambda self: self._box.prefix, setPrefix)


@cpp_class
class ctkSliderWidget(SliderWithBox):
    pass


@cpp_class
class ctkDoubleSpinBox(qt.QDoubleSpinBox):
    pass


@cpp_class
class ctkRangeWidget(qt.QWidget):
    """Two values between a minimum and a maximum."""

    valuesChanged = Signal(float, float)
    rangeChanged = Signal(float, float)
    SIGNAL_ALIASES = {
        "valuesChanged(double,double)": "valuesChanged",
        "rangeChanged(double,double)": "rangeChanged",
    }
    vars().update(
        properties(
            decimals=(int, 2),
            singleStep=(float, 1.0),
            minimum=(float, 0.0),
            maximum=(float, 99.0),
            suffix=(str, ""),
            tracking=(bool, True),
            spinBoxesVisible=(bool, True),
        )
    )

    def __init__(self, parent: Any = None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._low, self._high = qt.QDoubleSpinBox(), qt.QDoubleSpinBox()
        self._slider = qt.QSlider(Qt.Horizontal)  # for the look only
        for part in (self._low, self._slider, self._high):
            layout.addWidget(part, int(part is self._slider))
        self._values = (0.0, 99.0)
        self._show()
        self._low.valueChanged.connect(lambda v: self.setMinimumValue(v))
        self._high.valueChanged.connect(lambda v: self.setMaximumValue(v))

    def _show(self) -> None:
        for box, value in zip((self._low, self._high), self._values, strict=True):
            box.blockSignals(True)
            box.setDecimals(self.decimals)
            box.setRange(self.minimum, self.maximum)
            box.setValue(value)
            box.blockSignals(False)

    def _changed_minimum(self, _: float) -> None:
        self.setValues(*self._values)
        self._show()

    _changed_maximum = _changed_minimum
    _changed_decimals = _changed_minimum

    def setRange(self, low: float, high: float) -> None:
        self.minimum, self.maximum = low, high
        self.rangeChanged.emit(low, high)

    def setValues(self, low: float, high: float) -> None:
        inside = tuple(min(max(float(v), self.minimum), self.maximum) for v in (low, high))
        if inside != self._values:
            self._values = inside
            self._show()
            self.valuesChanged.emit(*inside)

    def setMinimumValue(self, low: float) -> None:
        self.setValues(low, max(low, self._values[1]))

    def setMaximumValue(self, high: float) -> None:
        self.setValues(min(high, self._values[0]), high)

    minimumValue = Property(float, lambda self: self._values[0], setMinimumValue)
    maximumValue = Property(float, lambda self: self._values[1], setMaximumValue)


@cpp_class
class ctkMessageBox(qt.QMessageBox):
    """Without the "do not show again" box, which is never ticked here."""

    vars().update(
        properties(dontShowAgainVisible=(bool, False), dontShowAgainSettingsKey=(str, ""))
    )


@cpp_class
class ctkComboBox(qt.QComboBox):
    vars().update(properties(defaultText=(str, ""), forceDefault=(bool, False)))


class ctkWidgetsUtils:
    @staticmethod
    def grabWidget(widget: Any) -> QtGui.QImage:
        return widget.grab().toImage()


def build() -> types.ModuleType:
    module = types.ModuleType("ctk", __doc__)
    for name, cls in CLASSES.items():
        if name.startswith("ctk"):
            setattr(module, name, cls)
    module.ctkWidgetsUtils = ctkWidgetsUtils
    return module
