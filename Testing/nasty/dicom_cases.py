"""DICOM stacks: a slice that is lost, damaged or foreign, and geometry that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from Testing.library.cine_hearts import beat
from Testing.library.dicom_slices import dicom_series
from Testing.library.enhanced_mr import enhanced, expected
from Testing.nasty.case import REFUSED, WARNED, Case, Image
from Testing.nasty.dicom_faults import (
    ITEM,
    SEQUENCE,
    Change,
    another_series,
    at,
    big_endian,
    copied,
    deflated_bomb,
    everywhere,
    in_color,
    linked,
    longer,
    moved,
    nonsense,
    numbered,
    onto_another,
    remove,
    renamed,
    rescaled,
    shifted_bits,
    skewed,
    syntax,
    tilted,
    to_last,
    twice,
    uneven,
    with_bystanders,
    without,
)

GROUP = "DICOM"
HEART = beat()[0]
STORED = HEART.array.round()
TRUTH = Image(STORED, HEART.affine)
NAN = DSfloat("nan", validation_mode=0)


def stack(what: str, change: Change = lambda d, k, f: True, wanted: str = REFUSED,
          truth: Image | None = None, after: Callable[[Path], Any] = lambda folder: None,
          rivals: bool = True, frames: int = 1) -> Case:  # fmt: skip
    """A good stack of four slices but for a ``change`` of its data sets, or ``after``wards."""

    def make(folder: Path) -> Path:
        made = dicom_series(folder / "series", beat()[:frames], change=change)
        after(made)
        return made

    return Case(GROUP, what, make, wanted, truth, rivals=rivals)


def multi_frame(what: str, change: Callable[[Any], Any] = lambda image: None,
                wanted: str = REFUSED, truth: Image | None = None) -> Case:  # fmt: skip
    return Case(GROUP, what, lambda folder: enhanced(folder / "x.dcm", change=change), wanted,
                truth)  # fmt: skip


def cases() -> list[Case]:
    return [*_good(), *_files(), *_strangers(), *_geometry(), *_pixels()]


def _good() -> list[Case]:
    scaled = Image(STORED * (2 + np.arange(4)) - 10, HEART.affine)
    return [
        stack("names in no order", wanted="ok", truth=TRUTH),
        stack("names without a suffix", wanted="ok", truth=TRUTH, after=numbered),
        stack("implicit value representations", syntax(ImplicitVRLittleEndian), "ok", TRUTH),
        stack("big-endian", big_endian, "ok", TRUTH),
        stack("deflated", syntax(DeflatedExplicitVRLittleEndian), "ok", TRUTH),
        stack("run-length encoded", lambda d, k, f: d.compress(RLELossless), "ok", TRUTH),
        stack("a slope of its own for each slice", rescaled, "ok", scaled),
        stack("other files beside the slices", wanted="ok", truth=TRUTH, after=with_bystanders),
        multi_frame("Enhanced MR in one file", wanted="ok",
                    truth=Image(expected(HEART), HEART.affine)),
        stack("white stored as zero", everywhere(PhotometricInterpretation="MONOCHROME1"), WARNED,
              rivals=False),
        stack("a modality that says nothing", everywhere(Modality="OT"), WARNED, TRUTH),
        stack("a localizer", everywhere(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), WARNED,
              TRUTH),
        stack("one slice without a thickness",
              lambda d, k, f: (setattr(d, "SliceThickness", None), k == 0)[1], WARNED),
    ]  # fmt: skip


def _files() -> list[Case]:
    cuts = (("empty", 0), ("cut after a byte", 1), ("cut within the preamble", 131),
            ("cut behind the preamble", 132), ("cut within the header", 400),
            ("without its pixels", -720), ("without half of its pixels", -361),
            ("without its last byte", -1))  # fmt: skip
    deep = (SEQUENCE + ITEM) * 5000
    return [
        *(stack(f"the end slice {what}", after=to_last(lambda c, n=n: c[:n])) for what, n in cuts),
        stack("the end slice without a preamble", after=to_last(lambda c: c[132:])),
        stack("the same under another name", after=renamed),
        stack("the end slice a link to nowhere", after=linked),
        stack("the end slice a web page",
              after=to_last(lambda c: b"<!DOCTYPE html><title>404</title>" + b" " * 200)),
        stack("the end slice text", after=to_last(lambda c: b"not DICOM\n" * 30)),
        stack("a slice twice, as a copy", after=copied),
        stack("a slice in the middle is missing", after=remove(1)),
        stack("sequences in sequences, 5000 deep", after=to_last(lambda c: c + deep)),
        stack("256 MiB of zeros in a deflated slice", syntax(DeflatedExplicitVRLittleEndian),
              after=deflated_bomb),
        stack("the lengths of all values in another byte order",
              after=to_last(lambda c: c.replace(b".1.2.1\0", b".1.2.2\0"))),
        stack("no slice at all", after=remove(0, 1, 2, 3)),
    ]  # fmt: skip


def _strangers() -> list[Case]:
    def mixed(what: str, **values: Any) -> Case:
        return stack(f"the end slice {what}", at(3, **values))

    return [
        mixed("of another patient", PatientID="002"),
        mixed("of another name", PatientName="C^D"),
        mixed("of no patient", PatientID=None),
        mixed("of another study", StudyInstanceUID=generate_uid()),
        mixed("of another frame of reference", FrameOfReferenceUID="1.2.4"),
        mixed("of another echo", EchoTime=90),
        mixed("of another stack", StackID="2"),
        mixed("of another diffusion weighting", DiffusionBValue=1000.0),
        mixed("of another part of complex values", ComplexImageComponent="PHASE"),
        mixed("of another series", SeriesInstanceUID=generate_uid()),
        stack("two series in one folder", after=another_series),
        stack("two times of each slice", frames=2),
        stack("one slice at a second time", lambda d, k, f: f == 0 or k == 2, frames=2),
        stack("another time at the same place and time",
              lambda d, k, f: setattr(d, "TriggerTime", 0), frames=2),
        stack("computed tomography", everywhere(Modality="CT"), rivals=False),
        stack("(0008,001C) Synthetic Data YES", everywhere(SyntheticData="YES"), rivals=False),
        stack("an image type with SYNTHETIC",
              everywhere(ImageType=["DERIVED", "SECONDARY", "OTHER", "SYNTHETIC"]), rivals=False),
        stack("a mosaic", everywhere(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]),
              rivals=False),
        multi_frame("Enhanced MR that describes fewer frames than it has",
                    lambda image: setattr(image, "NumberOfFrames", 5)),
        multi_frame("Enhanced MR with a frame out of line", lambda image: setattr(
            image.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0],
            "ImagePositionPatient", [0, 0, 500])),
    ]  # fmt: skip


def _geometry() -> list[Case]:
    return [
        stack("orientation vectors of length 1.2", longer),
        stack("rows and columns that are not at right angles", skewed),
        stack("orientation vectors of zeros", everywhere(ImageOrientationPatient=[0] * 6)),
        stack("no orientation", without("ImageOrientationPatient")),
        stack("no position", without("ImagePositionPatient")),
        stack("no position in one slice", without("ImagePositionPatient", slices=(2,))),
        stack("a position of NaN", at(2, ImagePositionPatient=[NAN, 0, 0])),
        stack("one slice turned", at(3, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])),
        stack("one slice moved within its plane", moved(3, 6, 0, 0)),
        stack("one slice nearer to the next", uneven),
        stack("a tilted gantry", tilted),
        stack("two slices at one place", onto_another),
        stack("no pixel size", without("PixelSpacing")),
        stack("a pixel size of 0", everywhere(PixelSpacing=[2, 0])),
        stack("a negative pixel size", everywhere(PixelSpacing=[-2, 2])),
        stack("another pixel size in one slice", at(3, PixelSpacing=[2.1, 2.1])),
    ]


def _pixels() -> list[Case]:
    return [
        stack("a slope of 0", everywhere(RescaleSlope=0, RescaleIntercept=0)),
        stack("a slope of NaN", everywhere(RescaleSlope=NAN, RescaleIntercept=0)),
        stack("other rows and columns in one slice",
              at(3, Rows=9, Columns=20, PixelData=bytes(360))),
        stack("no rows", everywhere(Rows=0)),
        stack("65535 rows that are not there", everywhere(Rows=65535)),
        stack("no pixels", without("PixelData", slices=(3,))),
        stack("twice as many pixels", twice),
        stack("12 bits allocated for each pixel", everywhere(BitsAllocated=12)),
        stack("bits that are not at the lowest place", shifted_bits),
        stack("in color", in_color, rivals=False),
        stack("a palette", everywhere(PhotometricInterpretation="PALETTE COLOR"), rivals=False),
        stack("no word of black and white", without("PhotometricInterpretation"), rivals=False),
        stack("run-length encoded and cut", lambda d, k, f: d.compress(RLELossless),
              after=to_last(lambda c: c[:-60])),
        stack("JPEG 2000 of nonsense", nonsense),
    ]  # fmt: skip
