"""A classic MR series of a beating heart, written slice by slice with pydicom alone."""

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from Testing.library.cine_hearts import beat

TIMES = (0.0, 100.0, 250.0, 400.0)
CANARY = "Canary"  # in every place of a source that tells more of a person than a result needs


def dicom_series(folder, frames=None, times=TIMES, change=lambda dataset, k, f: True):
    """A classic MR cine of ``beat``, file names in no useful order. ``change`` edits a data set;
    False leaves it out.
    """
    frames = frames or beat()
    folder.mkdir(exist_ok=True)
    lps = np.diag([-1.0, -1, 1, 1]) @ frames[0].affine
    series, study = generate_uid(), generate_uid()
    for f, frame in enumerate(frames):
        for k in range(frame.shape[2]):
            d = pydicom.Dataset()
            d.file_meta = FileMetaDataset()
            d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            d.SOPClassUID, d.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", generate_uid()
            d.SeriesInstanceUID, d.StudyInstanceUID, d.Modality = series, study, "MR"
            d.ImagePositionPatient = [round(v, 6) for v in lps[:3] @ (0, 0, k, 1)]
            axes = lps[:3, :2] / np.linalg.norm(lps[:3, :2], axis=0)
            d.ImageOrientationPatient = [round(v, 8) for v in axes.T.ravel()]
            across, down, thick = (round(float(v), 6) for v in frame.spacing)
            d.PixelSpacing, d.SliceThickness, d.TriggerTime = [down, across], thick, times[f]
            pixels = frame.array[..., k].T.round().astype("<u2")
            d.Rows, d.Columns = pixels.shape
            d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
            d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
            d.PixelData = pixels.tobytes()
            if change(d, k, f) is not False:
                d.save_as(
                    folder / f"{(k * 7 + f * 3) % 16:02}-{k}-{f}.dcm", enforce_file_format=True
                )
    return folder


def edit(**values):
    """Set values in one file: that of slice 2 at time 1."""

    def change(dataset, k, f):
        if (k, f) == (2, 1):
            for keyword, value in values.items():
                setattr(dataset, keyword, value)

    return change


def of_a_person(dataset, k, f):
    """All that a scanner writes, much of which is nobody else's business."""
    d = dataset
    d.SpecificCharacterSet = "ISO_IR 192"
    d.PatientName, d.PatientID, d.IssuerOfPatientID = "Müller^Zoë", "007", "Ward"
    d.PatientBirthDate, d.PatientSex = "19700101", "F"
    d.StudyDate, d.StudyTime, d.StudyID, d.AccessionNumber = "20200102", "101112", "S1", "A1"
    d.ReferringPhysicianName, d.StudyDescription = "Doctor^Who", "Heart"
    d.FrameOfReferenceUID, d.PositionReferenceIndicator = "1.2.3.4", ""
    d.SeriesNumber, d.InstanceNumber, d.PatientPosition = 3, 4 * f + k + 1, "HFS"
    d.BodyPartExamined, d.ImageType = "HEART", ["ORIGINAL", "PRIMARY", "M"]
    d.Manufacturer, d.ManufacturerModelName, d.SoftwareVersions = "ACME", "Scan 3000", "5.1"
    d.RepetitionTime, d.EchoTime, d.FlipAngle, d.SAR = 500, 30, 90, 1.5
    d.MagneticFieldStrength, d.ScanningSequence, d.SequenceVariant = 3, "SE", "SK"
    for keyword in ("InstitutionName", "StationName", "OperatorsName", "PatientAddress",
                    "OtherPatientIDs", "PerformingPhysicianName", "DeviceSerialNumber",
                    "ProtocolName", "SeriesDescription", "PatientComments",
                    "InstitutionalDepartmentName", "RequestingPhysician", "Occupation",
                    "PatientMotherBirthName", "AdditionalPatientHistory"):  # fmt: skip
        setattr(d, keyword, CANARY)
    d.PatientAge, d.PatientWeight = "050Y", 77.7
    d.private_block(0x0099, CANARY, create=True).add_new(1, "LO", CANARY)
