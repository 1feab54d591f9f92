"""Volumes on disk. ``files`` is the door; the other modules serve it.

What reading does with a file that is not plain and sound:

| found                                                        | outcome                        |
|--------------------------------------------------------------|--------------------------------|
| oblique, left-handed, anisotropic, any axis order            | read exactly                   |
| any integer, float32, float64, big-endian, NIfTI-2           | read exactly                   |
| scl_slope 0                                                  | unscaled, by the standard      |
| scl_slope NaN or infinite; units other than mm; no patient   | read, with a named warning     |
| geometry; shear below 1e-4; bytes after the image; rounding  |                                |
| qform and sform more than 1e-3 mm apart                      | refused unless ``prefer``      |
| NaN or infinite voxels                                       | refused unless ``nan_as_zero`` |
| shear (gantry tilt), singular or non-finite affine, absurd   | refused, with the remedy       |
| voxel sizes, complex, RGB, float16, float128, 4-D            |                                |
| truncated, wrong checksum, header that promises too much     | refused before allocation      |
| text, web page, folder, pipe, empty, missing                 | refused                        |
| detached header that names a file outside its folder         | refused                        |
| DICOM: a damaged file among the slices, or slices of another | refused                        |
| patient, study, place or kind; directions not of length 1    |                                |
| marked as synthetic                                          | noted; refused where asked     |
| from another machine than MR, by DICOM or the sidecar        | refused; an odd modality noted |
| a localizer, by DICOM Image Type                             | read, with a named warning     |

A cine is read by ``cine_files``: the same checks for 4-D files, and one frame is refused. A DICOM
series, classic or Enhanced MR, is a volume where each slice is there once, and a cine where each is
there at as many times; what is no full, straight, even grid is refused (``dicom_series``).

World axes become RAS in ``geometry.flipped`` and nowhere else. The formats are one table
(``formats``, which says how to add one); each file and its sidecar are read once, so that marks and
voxels come from the same bytes. Marks are also read from DICOM headers (``dicom_marks``) and from
pictures. Marks, provenance and the write-check-rename of outputs are in ``marks``, ``output`` and
``atomic``; DICOM is written by ``dicom_writing``, beside the series it was made from.
"""
