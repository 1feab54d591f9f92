"""Enhanced MR files of the computed heart: many slices in one file."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from Testing.library.cine_hearts import beat
from Testing.library.dicom_slices import TIMES

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"


def item(**values):
    """A sequence of one item."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return [dataset]


def enhanced(path, frames=None, order=None, change=lambda image: None, cine=False):
    """An Enhanced MR file of the heart, its frames in a useless order unless another is given.

    What all frames share is in the shared groups, the rest in the groups of each frame.
    """
    frames = frames or beat()[:1]
    lps = np.diag([-1.0, -1, 1, 1]) @ frames[0].affine
    axes = lps[:3, :2] / np.linalg.norm(lps[:3, :2], axis=0)
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = ENHANCED_MR, generate_uid()
    image.SeriesInstanceUID, image.StudyInstanceUID = generate_uid(), generate_uid()
    image.Modality, image.PatientID, image.FrameOfReferenceUID = "MR", "001", "1.2.3"
    image.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    (shared,) = image.SharedFunctionalGroupsSequence = item(
        PlaneOrientationSequence=item(
            ImageOrientationPatient=[round(v, 8) for v in axes.T.ravel()]
        ),
        PixelMeasuresSequence=item(PixelSpacing=[2, 2], SliceThickness=8),
        MREchoSequence=item(EffectiveEchoTime=30.0),
        MRImageFrameTypeSequence=item(ComplexImageComponent="MAGNITUDE"),
    )
    assert len(shared) == 4
    numbers = [(k, f) for f in range(len(frames)) for k in range(4)]
    image.PerFrameFunctionalGroupsSequence, pixels = [], []
    for k, f in order or sorted(numbers, key=lambda number: (number[0] * 7 + number[1] * 3) % 5):
        place = [round(v, 6) for v in lps[:3] @ (0, 0, k, 1)]
        (groups,) = item(
            PlanePositionSequence=item(ImagePositionPatient=place),
            FrameContentSequence=item(StackID="1", InStackPositionNumber=k + 1),
            PixelValueTransformationSequence=item(RescaleSlope=2 + k, RescaleIntercept=-10),
        )
        if cine:
            groups.CardiacSynchronizationSequence = item(NominalCardiacTriggerDelayTime=TIMES[f])
        image.PerFrameFunctionalGroupsSequence.append(groups)
        pixels.append(frames[f].array[..., k].T.round().astype("<u2"))
    image.NumberOfFrames = len(pixels)
    image.Rows, image.Columns = pixels[0].shape
    image.PixelData = np.stack(pixels).tobytes()
    change(image)
    image.save_as(path, enforce_file_format=True)
    return path


def expected(frame):
    return frame.array.round() * (2 + np.arange(4, dtype=np.float32)) - 10


def of_file(**values):
    def change(image):
        for keyword, value in values.items():
            setattr(image, keyword, value)

    return change
