"""Lists of volumes for masks, and what is known of their volumes."""

from pathlib import Path

import numpy as np
import pytest

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from MambaSynthLib.mask.engine import MaskEngine
from MambaSynthTraining.data.brain_teacher import brain_masks
from MambaSynthTraining.mask.listed import read_list
from MambaSynthTraining.mask.truths import any_contrast, solid, truths_of
from Testing.analytic_heads import analytic_head
from Testing.model_packages import threshold_package

OPEN = Path(__file__).resolve().parents[3] / "training/recipes/masks/open-volumes.tsv"
NAMES = "id person part anatomy contrast path mask to_common license citation".split()
COLUMNS = "\t".join(NAMES) + "\n"
LINE = "a\tone\ttrain\thead\tT1w\ta.nii\tteacher\t\tCC0-1.0\tnobody\n"
SHIFT = """#Insight Transform File V1.0
Transform: AffineTransform_double_3_3
Parameters: 1 0 0 0 1 0 0 0 1 {} 0 0
FixedParameters: 0 0 0
"""
FREE = ("CC", "Apache", "BSD", "MIT")


def listed(folder, *lines):
    path = folder / "list.tsv"
    path.write_text(COLUMNS + "".join(lines))
    return read_list(path)


def test_the_open_list_learns_from_free_data_only_and_scores_other_people():
    rows = read_list(OPEN)
    learned, scored = ({r.person for r in rows if r.part == part} for part in ("train", "score"))
    assert learned and not learned & scored
    assert {"ms03", "ms19", "mni"} <= scored and sum("ixi" in person for person in scored) >= 2
    for row in rows:
        assert row.license.startswith(FREE) and "NC" not in row.license and "GPL" not in row.license


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks any volume"),
        (COLUMNS.replace("\tpart", "") + LINE, "lacks part"),
        (COLUMNS + LINE.replace("train", "test"), "has the part 'test'"),
        (COLUMNS + LINE.replace("head", "knee"), "the anatomy 'knee'"),
        (COLUMNS + LINE.replace("teacher", "of b"), "a is a head with the mask 'of b'; give"),
        (COLUMNS + LINE + LINE.replace("train", "score"), "one is in two parts"),
        (COLUMNS + LINE + LINE.replace("a.nii", "b.nii"), "the id 'a' is that of two lines"),
        (COLUMNS + LINE.replace("a\tone", "../a\tone"), "the id '../a' is .* can name no file"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path, text, said):
    path = tmp_path / "list.tsv"
    path.write_text(text)
    with pytest.raises(FileError, match=said):
        read_list(path)


def test_a_teacher_is_asked_once_a_head_and_its_mask_moves_with_the_transforms(tmp_path):
    head = analytic_head((3, 3, 4))["T1w"]
    write_volume(head, tmp_path / "a.nii")
    write_volume(head, tmp_path / "b.nii")
    (tmp_path / "b.txt").write_text(SHIFT.format(-6))  # LPS: the common space lies 6 mm further
    asked = []

    def teacher(volume):
        asked.append(volume.name)
        mask = np.zeros(volume.shape, bool)
        mask[20:30, 25:45, 15:30] = True
        return mask

    rows = listed(tmp_path, LINE, "b\tone\ttrain\thead\tT2w\tb.nii\tof a\tb.txt\tCC0-1.0\tnobody\n")
    for _ in range(2):
        own, moved = truths_of(rows, tmp_path, tmp_path / "kept", teacher, 0, 1)
    assert asked == ["a.nii"]
    np.testing.assert_array_equal(np.flatnonzero(own.brain.any(axis=(1, 2))), np.arange(20, 30))
    np.testing.assert_array_equal(np.flatnonzero(moved.brain.any(axis=(1, 2))), np.arange(22, 32))
    assert own.whole and own.group == "head T1w" and moved.group == "head T2w"
    assert not np.any(own.brain & ~own.head) and 0.2 < own.head.mean() < 0.8


def test_a_mask_of_a_file_may_lie_on_another_grid(tmp_path):
    head, coarse = (analytic_head(edges)["T1w"] for edges in ((3, 3, 4), (6, 6, 8)))
    write_volume(head, tmp_path / "a.nii")
    write_volume(coarse.with_array(coarse.array > 500), tmp_path / "m.nii")
    rows = listed(tmp_path, LINE.replace("teacher", "m.nii"))
    (truth,) = truths_of(rows, tmp_path, tmp_path / "kept", None, 0, 1)
    share = np.mean(coarse.array > 500)
    assert 0.8 * share < truth.brain.mean() < 1.2 * share


def test_without_a_teacher_a_mask_that_is_not_kept_is_named(tmp_path):
    write_volume(analytic_head((3, 3, 4))["T1w"], tmp_path / "a.nii")
    rows = listed(tmp_path, LINE)
    with pytest.raises(FileError, match=r"a.npz: is not there; name the teacher"):
        list(truths_of(rows, tmp_path, tmp_path / "kept", None, 0, 1))
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/a.npz").write_bytes(b"no archive")
    with pytest.raises(FileError, match=r"a.npz: is no kept mask; delete it"):
        list(truths_of(rows, tmp_path, tmp_path / "kept", None, 0, 1))


def test_the_librarys_own_masks_can_stand_in_for_the_teacher(tmp_path, monkeypatch):
    package = threshold_package(tmp_path / "models/tiny-mask", 0.3, 0.1)
    monkeypatch.setenv("MAMBASYNTH_MODELS", str(tmp_path / "models"))
    head = analytic_head((3, 3, 4))["T1w"]
    expected = MaskEngine(package, "cpu").find(head).brain.array > 0
    np.testing.assert_array_equal(brain_masks(Path("own"))(head), expected)
    with pytest.raises(FileError, match=r"none.onnx: is no ONNX network"):
        brain_masks(tmp_path / "none.onnx")


def test_what_is_left_of_a_stripped_volume_is_its_brain_and_its_head(tmp_path):
    bare = analytic_head((3, 3, 4), skull=False)["T1w"]
    write_volume(bare, tmp_path / "a.nii")
    rows = listed(tmp_path, LINE.replace("head", "brain").replace("teacher", ""))
    (truth,) = truths_of(rows, tmp_path, tmp_path / "kept", None, 0, 1)
    np.testing.assert_array_equal(truth.brain, truth.head)
    np.testing.assert_array_equal(truth.brain & (bare.array == 0), truth.brain & ~(bare.array != 0))
    assert not truth.whole and np.count_nonzero(truth.brain) >= np.count_nonzero(bare.array)


def test_a_phantom_is_shown_in_every_contrast_with_one_pair_of_masks(tmp_path):
    x, y, z = np.meshgrid(*(np.linspace(-90, 90, 90),) * 3, indexing="ij")
    distance = np.sqrt(x**2 + y**2 + z**2)
    edges = [distance < r for r in (30, 50, 55, 62, 70)]
    labels = np.select(edges, [2, 3, 24, 515, 507], 0).astype(np.float32)
    labels[44:47, 44:47, :20] = 0  # a channel from outside
    write_volume(Volume(labels, np.diag([2.0, 2, 2, 1]), "labels"), tmp_path / "l.nii")
    rows = listed(tmp_path, LINE.replace("head", "labels").replace("a.nii\tteacher", "l.nii\t"))
    truths = list(truths_of(rows, tmp_path, tmp_path / "kept", None, 0, 1))
    groups = [truth.group.removeprefix("phantom ") for truth in truths]
    assert groups == ["T1w", "T2w", "PDw", "FLAIR", "any", "any"]
    first = truths[0]
    assert all(truth.brain is first.brain and truth.head is first.head for truth in truths)
    assert not np.any(first.brain & ~first.head) and first.brain.sum() < first.head.sum()
    assert not np.array_equal(truths[-1].volume.array, truths[-2].volume.array)


def test_narrow_ways_into_a_head_are_closed_and_its_holes_filled():
    tissue = np.zeros((40, 40, 40), bool)
    tissue[5:35, 5:35, 5:35] = True
    tissue[10:15, 10:15, 10:15] = False
    tissue[5:20, 20:22, 20:22] = False
    found = solid(tissue, np.array([2.0, 2.0, 2.0]))
    assert found[5:35, 5:35, 5:35].all() and found.sum() == 30**3


def test_images_of_any_contrast_have_dark_air_and_differ():
    body = np.zeros((20, 20, 20), int)
    body[5:15, 5:15, 5:15] = 2
    one, other = (any_contrast(body, np.random.default_rng(n)) for n in (1, 2))
    assert one[8:12, 8:12, 8:12].mean() > 3 * one[:3].mean()
    assert abs(one[10, 10, 10] - other[10, 10, 10]) > 1
