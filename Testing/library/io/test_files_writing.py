"""Writing image files: marked, exact, the same bytes each time, and all or nothing."""

import errno
import gzip
import json
import os
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io import output
from MambaSynthLib.io.files import (
    SyntheticMark,
    check_output,
    read_marks,
    read_volume,
    write_volume,
)
from MambaSynthLib.provenance import MARK
from Testing.provenance_records import RECORD

SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".mha"]
AFFINE = np.array(
    [
        [-0.871, 0.043, 0.31, 81.123456],
        [-0.0498, -0.8986, 0.12, 70.5],
        [0.0, 0.0, 0.0, -33.25],
        [0, 0, 0, 1.0],
    ]
)
AFFINE[:3, 0] *= 0.9 / np.linalg.norm(AFFINE[:3, 0])
AFFINE[:3, 1] -= AFFINE[:3, 0] * (AFFINE[:3, 0] @ AFFINE[:3, 1]) / 0.81
AFFINE[:3, 2] = 3.3 * np.cross(AFFINE[:3, 0], AFFINE[:3, 1])
VOLUME = Volume(np.random.default_rng(2).normal(0, 50, (5, 6, 7)), AFFINE, "t2w")
PROVENANCE = replace(
    RECORD,
    source_name="Kopf ü.nii.gz",
    warnings=("slight shear: 1e-5", "back\\slash"),
)
posix = pytest.mark.skipif(os.name == "nt", reason="pipes, links and modes of POSIX")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_reads_back_here_and_in_the_other_libraries(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    assert write_volume(VOLUME, path) == [path]
    assert names(tmp_path) == [path.name]
    back = read_volume(path)
    assert np.array_equal(back.array, VOLUME.array)
    assert np.allclose(back.affine, AFFINE, rtol=1e-6, atol=1e-6) and back.notes == ()
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, VOLUME.array)
    for index in ((0, 0, 0), (4, 5, 6), (0, 5, 0)):
        place = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        assert np.allclose(place, (AFFINE @ (*index, 1))[:3], atol=1e-4)
    if "nii" in suffix:
        image = nibabel.load(path)
        assert np.array_equal(image.get_fdata(dtype=np.float32), VOLUME.array)
        assert np.allclose(image.get_sform(), AFFINE, atol=1e-5)
        assert np.allclose(image.get_qform(), AFFINE, atol=1e-4)
        assert image.header["sform_code"] == image.header["qform_code"] == 1
        assert image.header.get_xyzt_units()[0] == "mm"


def test_a_qform_that_cannot_say_the_same_as_the_sform_is_left_out(tmp_path):
    about_x, about_y, half_turn = np.eye(4), np.eye(4), np.diag([-1.0, -1, 1, 1])
    c, s = np.cos(0.005), np.sin(0.005)  # 0.3 degrees
    about_x[1:3, 1:3] = about_y[0:3:2, 0:3:2] = [[c, -s], [s, c]]
    affine = about_x @ about_y @ half_turn
    volume = Volume(np.zeros((250, 250, 2)) + np.arange(2), affine)
    twin = nibabel.Nifti1Image(volume.array, affine)
    twin.set_qform(affine, 1)
    apart = np.abs((twin.get_qform() - affine) @ (249, 249, 1, 1)).max()
    write_volume(volume, tmp_path / "x.nii")
    header = nibabel.load(tmp_path / "x.nii").header
    assert apart > 1e-3, "the case must be one that the quaternion cannot hold"
    assert (header["qform_code"], header["sform_code"]) == (0, 1)
    assert np.allclose(read_volume(tmp_path / "x.nii").affine, affine, atol=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_image_gives_the_same_bytes_under_any_name(tmp_path, suffix):
    for name in ("one", "another"):
        write_volume(VOLUME, tmp_path / f"{name}{suffix}", provenance=PROVENANCE)
        os.utime(tmp_path / f"{name}{suffix}", (0, 0))
    for ending in (suffix, ".json"):
        one, another = (tmp_path / f"{name}{ending}" for name in ("one", "another"))
        assert one.read_bytes() == another.read_bytes()
    content = (tmp_path / f"one{suffix}").read_bytes()
    if suffix == ".nii.gz":
        assert content[3] == 0 and content[4:8] == bytes(4), "no name and no time in the header"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_synthetic_image_is_marked_inside_and_beside(tmp_path, suffix):
    path, sidecar = tmp_path / f"out{suffix}", tmp_path / "out.json"
    assert write_volume(VOLUME, path, provenance=PROVENANCE) == [path, sidecar]
    assert names(tmp_path) == sorted([path.name, "out.json"])
    record = json.loads(sidecar.read_text())
    assert record["Synthetic"] is True and record["Model"] == "t1w-to-t2w"
    mark = read_marks(path)
    assert mark.provenance == PROVENANCE and mark.certain and "sidecar" not in mark.where
    sidecar.unlink()
    assert read_marks(path) == mark


def test_other_programs_can_read_the_marks(tmp_path):
    for suffix in SUFFIXES:
        write_volume(VOLUME, tmp_path / f"x{suffix}", provenance=PROVENANCE, overwrite=True)
    header = nibabel.load(tmp_path / "x.nii.gz").header
    assert header["descrip"].item().decode() == MARK
    assert header["aux_file"].item().decode().startswith("SYNTHETIC")
    assert [extension.get_code() for extension in header.extensions] == [6]
    assert json.loads(header.extensions[0].get_content())["Warning"] == MARK
    for suffix in (".nrrd", ".mha"):
        image = sitk.ReadImage(str(tmp_path / f"x{suffix}"))
        assert image.GetMetaData("MambaSynth.mark") == MARK
        assert image.GetMetaData("MambaSynth.seed") == "7"
    assert "descrip" in sitk.ReadImage(str(tmp_path / "x.nii")).GetMetaDataKeys()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mark_survives_another_library_by_the_sidecar(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    write_volume(VOLUME, path, provenance=PROVENANCE)
    sitk.WriteImage(sitk.GetImageFromArray(VOLUME.array.T), str(path))
    mark = read_marks(path)
    assert mark.where == "sidecar x.json" and mark.provenance == PROVENANCE


def test_a_synthetic_source_is_noted_and_can_be_refused(tmp_path):
    write_volume(VOLUME, tmp_path / "x.nii", provenance=PROVENANCE)
    assert any(
        note.startswith("synthetic source") for note in read_volume(tmp_path / "x.nii").notes
    )
    with pytest.raises(FileError, match="synthetic already"):
        read_volume(tmp_path / "x.nii", allow_synthetic=False)
    write_volume(VOLUME, tmp_path / "y.nii")
    assert read_volume(tmp_path / "y.nii", allow_synthetic=False).notes == ()


def test_marks_of_other_programs_are_recognized(tmp_path):
    write_volume(VOLUME, tmp_path / "x.nii")
    assert read_marks(tmp_path / "x.nii") is None
    (tmp_path / "x.json").write_text('{"Synthetic": true, "GeneratedBy": [{"Name": "Other"}]}')
    mark = read_marks(tmp_path / "x.nii")
    assert mark == SyntheticMark(
        "sidecar x.json", None, "marked as synthetic, but not by MambaSynth"
    )
    image = nibabel.Nifti1Image(VOLUME.array, AFFINE)
    image.header["descrip"] = b"Synthetic T2\x1b[31m"
    image.to_filename(tmp_path / "y.nii")
    assert read_marks(tmp_path / "y.nii").text == "Synthetic T2\\x1b[31m"
    image = sitk.GetImageFromArray(VOLUME.array.T)
    image.SetMetaData("Synthetic", "yes")
    for suffix in (".nrrd", ".mha"):
        sitk.WriteImage(image, str(tmp_path / f"z{suffix}"))
        mark = read_marks(tmp_path / f"z{suffix}")
        assert mark.certain and mark.provenance is None


def test_a_file_name_is_only_a_hint(tmp_path):
    for name in ("sub-1_desc-synthetic_T2w.nii", "Synthetic T2.nrrd"):
        write_volume(VOLUME, tmp_path / name)
        mark = read_marks(tmp_path / name)
        assert not mark.certain and mark.where.startswith("file name")
        assert read_volume(tmp_path / name, allow_synthetic=False).notes[0].startswith("synthetic")
    write_volume(VOLUME, tmp_path / "biosynthetics.nii")
    assert read_marks(tmp_path / "biosynthetics.nii") is None


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[1]", '{"Synthetic": "true"}', '{"Synthetic": false}', "[" * 100_000, "\xff"],
)
def test_a_sidecar_that_says_nothing_is_no_mark(tmp_path, text):
    write_volume(VOLUME, tmp_path / "x.nii")
    (tmp_path / "x.json").write_text(text, "latin-1")
    assert read_marks(tmp_path / "x.nii") is None


def test_an_edited_record_is_still_a_mark(tmp_path):
    write_volume(VOLUME, tmp_path / "x.nrrd", provenance=PROVENANCE)
    content = (tmp_path / "x.nrrd").read_bytes()
    (tmp_path / "x.nrrd").write_bytes(content.replace(b"seed:=7", b"seed:=x"))
    mark = read_marks(tmp_path / "x.nrrd")
    assert mark.certain and mark.provenance is None and "seed" in mark.text


# ---- before any compute ------------------------------------------------------------------------


@posix
def test_an_output_that_could_not_be_written_is_refused_before_any_compute(tmp_path, monkeypatch):
    write_volume(VOLUME, tmp_path / "old.nii")
    (tmp_path / "folder.nii").mkdir()
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "dangling.nii").symlink_to(tmp_path / "nowhere")
    (tmp_path / "acquired.json").write_text('{"EchoTime": 0.1}')
    for name, match in {
        "x.jpg": "use one of .nii",
        "x": "use one of .nii",
        "x.nhdr": "use one of .nii",
        "missing/x.nii": "folder does not exist",
        "old.nii/x.nii": "folder is a file",
        "old.nii": "--overwrite",
        "dangling.nii": "--overwrite",
        "folder.nii": "is no file",
        "pipe.nii": "is no file",
        "acquired.nii": "acquired.json, which describes another image",
        "n" * 300 + ".nii": "too long",
        "nul\0.nii": "cannot be written",
    }.items():
        with pytest.raises(FileError, match=match):
            check_output(tmp_path / name)
    for name in ("folder.nii", "pipe.nii", "acquired.nii"):
        with pytest.raises(FileError):
            check_output(tmp_path / name, overwrite=True)
    check_output(tmp_path / "old.nii", overwrite=True)
    check_output(tmp_path / "acquired.nii", marked=False)
    check_output(tmp_path / "NEW.NII.GZ")
    with pytest.raises(FileError, match="free space"):
        check_output(tmp_path / "x.nii", room=2**62)
    monkeypatch.setattr(output.os, "access", lambda path, mode: False)
    with pytest.raises(FileError, match="read-only"):
        check_output(tmp_path / "x.nii")


@posix
def test_the_output_may_not_be_the_input_under_any_name(tmp_path):
    write_volume(VOLUME, tmp_path / "in.nii")
    os.link(tmp_path / "in.nii", tmp_path / "hard.nii")
    (tmp_path / "soft.nii").symlink_to(tmp_path / "in.nii")
    for name in ("in.nii", "hard.nii", "soft.nii", "../" + tmp_path.name + "/in.nii"):
        with pytest.raises(FileError, match="is the input itself"):
            check_output(tmp_path / name, overwrite=True, inputs=[tmp_path / "in.nii"])
    check_output(tmp_path / "out.nii", inputs=[tmp_path / "in.nii", tmp_path / "missing.nii"])


def test_the_output_may_not_make_its_input_count_as_synthetic(tmp_path):
    write_volume(VOLUME, tmp_path / "x.nii")
    (tmp_path / "sub").mkdir()
    for name in ("x.nrrd", "sub/../x.mha"):
        with pytest.raises(FileError, match="share its sidecar"):
            check_output(tmp_path / name, inputs=[tmp_path / "x.nii"])
    check_output(tmp_path / "x.nrrd", inputs=[tmp_path / "x.nii"], marked=False)


# ---- all or nothing ----------------------------------------------------------------------------


def failing(function, at, error):
    """``function``, but its call number ``at`` raises ``error``."""
    calls = []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == at:
            raise error
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize("former", [False, True])
@pytest.mark.parametrize("call", range(1, 4))
@pytest.mark.parametrize("step", ["open", "fsync", "fdopen", "replace"])
@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EACCES, None])
def test_a_failure_at_any_step_leaves_the_folder_as_it_was(
    tmp_path, monkeypatch, former, call, step, fault
):
    path = tmp_path / "x.nii.gz"
    if former:
        write_volume(VOLUME, path, provenance=PROVENANCE)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    error = OSError(fault, os.strerror(fault)) if fault else KeyboardInterrupt()
    broken = failing(getattr(os, step), call, error)
    changed = VOLUME.with_array(VOLUME.array + 1)
    raised = None
    with monkeypatch.context() as patch:
        patch.setattr(os, step, broken)
        try:
            write_volume(changed, path, provenance=replace(PROVENANCE, seed=8), overwrite=former)
        except (FileError, KeyboardInterrupt) as caught:
            raised = caught
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    if raised is None:
        assert np.array_equal(read_volume(path).array, changed.array)
        assert read_marks(path).provenance.seed == 8 and len(after) == 2
    elif former:
        assert after == before or read_marks(path).provenance.seed == 8
        assert len(after) == 2
    else:
        assert after == before == {} or len(after) == 2
    if isinstance(raised, FileError):
        assert after == before and str(raised).startswith("x.")


def test_the_fault_injection_does_hit(tmp_path, monkeypatch):
    """Without this the test above could pass by never failing anything."""
    for step, calls in {"open": 2, "fsync": 2, "fdopen": 2, "replace": 2}.items():
        for call in range(1, calls + 1):
            with monkeypatch.context() as patch:
                fault = OSError(errno.ENOSPC, "No space left on device")
                patch.setattr(os, step, failing(getattr(os, step), call, fault))
                with pytest.raises(FileError, match="No space left on device"):
                    write_volume(VOLUME, tmp_path / "x.nrrd", provenance=PROVENANCE)
            assert names(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bytes_that_the_disk_loses_or_an_encoder_garbles_are_noticed(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"x{suffix}"
    write_volume(VOLUME, path)
    before = path.read_bytes()

    def lossy(descriptor):
        os.ftruncate(descriptor, 300)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lossy)
        with pytest.raises(FileError, match="read back"):
            write_volume(VOLUME, path, overwrite=True)
    with monkeypatch.context() as patch:
        other = VOLUME.with_array(VOLUME.array[::-1])
        from MambaSynthLib.io import files

        encode = files._encode
        patch.setattr(files, "_encode", lambda volume, *rest: encode(other, *rest))
        with pytest.raises(FileError, match="the values differ"):
            write_volume(VOLUME, path, overwrite=True)
        moved = Volume(VOLUME.array, AFFINE @ np.diag([1, 1, 1.001, 1]))
        patch.setattr(files, "_encode", lambda volume, *rest: encode(moved, *rest))
        with pytest.raises(FileError, match="the geometry differs"):
            write_volume(VOLUME, path, overwrite=True)
    assert path.read_bytes() == before and names(tmp_path) == [path.name]


def test_a_sidecar_that_the_disk_loses_is_noticed(tmp_path, monkeypatch):
    calls = []

    def lossy(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:  # the image is the first file, its sidecar the second
            os.ftruncate(descriptor, 10)

    monkeypatch.setattr(os, "fsync", lossy)
    with pytest.raises(FileError, match="x.json: what was read back"):
        write_volume(VOLUME, tmp_path / "x.nii", provenance=PROVENANCE)
    assert names(tmp_path) == []


def test_the_longest_name_that_a_disk_takes_can_be_written_and_read(tmp_path):
    path = tmp_path / ("n" * 248 + ".nii.gz")
    write_volume(VOLUME, path, provenance=PROVENANCE)
    assert read_marks(path).provenance == PROVENANCE


def test_an_image_that_is_not_finite_is_not_written(tmp_path):
    array = VOLUME.array.copy()
    array[0, 0, 0] = np.nan
    with pytest.raises(FileError, match="NaN"):
        write_volume(Volume(array, AFFINE), tmp_path / "x.nii")
    assert names(tmp_path) == []


def test_a_volume_too_long_for_nifti_1_is_refused_with_another_format(tmp_path):
    long = Volume(np.zeros((32768, 1, 1)), np.eye(4))
    with pytest.raises(FileError, match="nrrd"):
        write_volume(long, tmp_path / "x.nii")
    write_volume(long, tmp_path / "x.nrrd")


@posix
def test_new_files_have_the_permissions_that_the_umask_gives(tmp_path):
    former = os.umask(0o027)
    try:
        write_volume(VOLUME, tmp_path / "x.nii", provenance=PROVENANCE)
    finally:
        os.umask(former)
    for name in ("x.nii", "x.json"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o640


def test_one_slice_and_gzip_are_readable_by_the_plain_gzip_program(tmp_path):
    write_volume(Volume(VOLUME.array[:, :, :1], AFFINE), tmp_path / "x.nii.gz")
    content = gzip.decompress((tmp_path / "x.nii.gz").read_bytes())
    assert content[344:348] == b"n+1\0" and len(content) == 352 + 5 * 6 * 4
