"""When the frames of a sequence were taken: what Slicer and its DICOM plugins write, and where.

| made by                               | index name, unit      | times                          |
|---------------------------------------|-----------------------|--------------------------------|
| the Sequences module, files,          | any, ms or s          | the index values               |
| MambaSynth                            |                       |                                |
| DICOMImageSequencePlugin, multi-frame | time, s; or frame, "" | the index values; or unknown   |
| DICOMImageSequencePlugin, MR          | instance number, ""   | ``DICOM.triggerTime`` of each  |
|                                       |                       | frame                          |
| MultiVolumeImporterPlugin             | "", ""                | ``MultiVolume.FrameLabels`` of |
|                                       |                       | the sequence, in the unit of   |
|                                       |                       | ``...DICOMTagUnits``           |

The label of a multi-volume may be no time but a share of the heart beat in percent, the number of
the frame, or what makes it no cine at all, such as an echo time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.cine import check_times

MS_PER_UNIT = {"ms": 1.0, "s": 1000.0, "sec": 1000.0}
TRIGGER_TIME = "DICOM.triggerTime"
LABELS = "MultiVolume.FrameLabels"
LABEL_NAME = "MultiVolume.FrameIdentifyingDICOMTagName"
LABEL_UNIT = "MultiVolume.FrameIdentifyingDICOMTagUnits"
TIMES = ("TriggerTime", "AcquisitionTime", "SeriesTime", "ContentTime", "Time", "DeltaStartTime")
SHARES = ("CardiacCycle", "NominalPercentageOfCardiacPhase")
COUNTS = ("TemporalPositionIdentifier", "NA", "na", "")
MS_PER_MINUTE = 60_000.0


@dataclass(frozen=True)
class Pace:
    """What the user says of a cine that has no times; 0: nothing.

    frameMs: from one frame to the next, ms. heartRate: beats a minute; the frames are one beat.
    """

    frameMs: float = 0.0
    heartRate: float = 0.0

    @property
    def known(self) -> bool:
        return self.frameMs > 0 or self.heartRate > 0

    def note(self) -> str:
        """A warning for the result, whose times are as good as this number."""
        if self.frameMs > 0:
            return f"times given by the user: {self.frameMs:g} ms from frame to frame"
        return f"times given by the user: {self.heartRate:g} heart beats a minute"


UNKNOWN = Pace()
ANY_PACE = Pace(heartRate=60.0)  # to ask whether a pace is all that is missing


def inOrder(
    sequence: Any, pace: Pace, numbers: Sequence[int] | None = None
) -> list[tuple[float, int]]:
    """(time in ms, number of the data node from 0) in the order of time: of every frame, or of
    those with certain ``numbers``, which are one beat then.

    Raises VolumeError: the frames have no times and ``pace`` is unknown, one has none among others
    that have, two have the same, or they differ in something else than time.
    """
    numbers = range(sequence.GetNumberOfDataNodes()) if numbers is None else numbers
    times = statedTimes(sequence)
    if times is None:
        chosen = pacedTimes(sequence, pace, numbers)
    else:
        chosen = [times[number] for number in numbers]
    ordered = sorted(zip(chosen, numbers, strict=True))
    check_times([time for time, _number in ordered], sequence.GetName())
    return ordered


def stated(sequence: Any) -> bool:
    """Whether the sequence itself says when its frames were taken, or tries to."""
    try:
        return statedTimes(sequence) is not None
    except VolumeError:
        return True


def statedTimes(sequence: Any) -> list[float] | None:
    """ms of every data node, None: nobody wrote them down. Raises VolumeError as ``inOrder``."""
    unit = sequence.GetIndexUnit()
    if unit in MS_PER_UNIT and sequence.GetIndexType() == sequence.NumericIndex:
        texts = [sequence.GetNthIndexValue(n) for n in range(sequence.GetNumberOfDataNodes())]
        return [asMs(sequence, n, text, MS_PER_UNIT[unit]) for n, text in enumerate(texts, 1)]
    if sequence.GetAttribute(LABELS) is not None:
        return labelledTimes(sequence)
    return triggerTimes(sequence)


def asMs(sequence: Any, number: int, text: str, msPerUnit: float) -> float:
    try:
        return float(text) * msPerUnit
    except ValueError as error:
        message = _("Frame {number} of {name} has no time ({text!r}); set its index value.")
        told = message.format(number=number, name=sequence.GetName(), text=text)
        raise VolumeError(told) from error


def labelledTimes(sequence: Any) -> list[float] | None:
    """From the labels of a multi-volume, where these are times."""
    name, unit = (sequence.GetAttribute(key) or "" for key in (LABEL_NAME, LABEL_UNIT))
    if name in (*SHARES, *COUNTS):
        return None
    if name not in TIMES or unit not in MS_PER_UNIT:
        message = _("The frames of {cine} differ in {name}, not in time; select a cine.")
        raise VolumeError(message.format(cine=sequence.GetName(), name=name))
    labels = numbersIn(sequence)
    return None if labels is None else [label * MS_PER_UNIT[unit] for label in labels]


def numbersIn(sequence: Any) -> list[float] | None:
    """The labels of a multi-volume; None where they are not one number for each frame."""
    try:
        labels = [float(label) for label in sequence.GetAttribute(LABELS).split(",")]
    except ValueError:
        return None
    return labels if len(labels) == sequence.GetNumberOfDataNodes() else None


def triggerTimes(sequence: Any) -> list[float] | None:
    """From the attributes of the frames, where each has one and they are not all the same."""
    frames = (sequence.GetNthDataNode(n) for n in range(sequence.GetNumberOfDataNodes()))
    texts = [frame.GetAttribute(TRIGGER_TIME) if frame is not None else None for frame in frames]
    try:
        times = [float(text) for text in texts if text is not None]
    except ValueError:
        return None
    return times if len(times) == len(texts) and len(set(times)) > 1 else None


def pacedTimes(sequence: Any, pace: Pace, numbers: Sequence[int]) -> list[float]:
    """ms of some data nodes from what the user says. Raises VolumeError where that is nothing."""
    count = len(numbers)
    if pace.frameMs > 0:
        return [pace.frameMs * place for place in range(count)]
    if pace.heartRate > 0:
        beatMs = MS_PER_MINUTE / pace.heartRate
        isShare = sequence.GetAttribute(LABEL_NAME) in SHARES
        shares = numbersIn(sequence) if isShare else None
        if shares is not None:
            return [beatMs * shares[number] / 100 for number in numbers]
        return [beatMs * place / count for place in range(count)]
    message = _(
        "{name} does not say when its frames were taken; give the heart rate or frame time."
    )
    raise VolumeError(message.format(name=sequence.GetName()))
