"""Lists of volumes for the gate: read, or refused in a sentence."""

from pathlib import Path

import numpy as np
import pytest

from MambaSynthLib.errors import FileError
from MambaSynthLib.gate.questions import CONTRASTS
from MambaSynthLib.io.files import write_volume
from MambaSynthTraining.gate.listed import Row, file_of, read_list, read_lists, volumes_of
from Testing.analytic_heads import analytic_head

OPEN = Path(__file__).resolve().parents[3] / "training/recipes/gate/open-volumes.tsv"
UNSEEN = OPEN.with_name("unseen-volumes.tsv")
COLUMNS = "id\tperson\tpart\tanatomy\tcontrast\tpath\tlicense\tcitation\n"
LINE = "a\tone\ttrain\thead\tT1w\ta.nii\tCC0-1.0\tnobody\n"
FREE = ("CC", "Apache", "BSD", "MIT")


def test_the_open_list_trains_on_free_data_only_and_scores_other_people():
    rows = read_list(OPEN)
    parts = {part: {row.person for row in rows if row.part == part}
             for part in ("train", "choose", "score")}  # fmt: skip
    assert all(parts.values())
    assert not parts["train"] & parts["score"] and not parts["choose"] & parts["score"]
    for row in rows:
        assert row.license.startswith(FREE) and "NC" not in row.license and "GPL" not in row.license
        assert row.contrast in (*CONTRASTS, "-")


def test_whole_data_sets_are_scored_that_nothing_was_learned_from():
    rows = read_list(OPEN)
    known = {row.citation for row in rows if row.part != "score"}
    assert len({row.citation for row in rows if row.part == "score"} - known) >= 3


def test_the_unseen_list_is_scored_only_and_shares_no_person_or_source_with_the_open_one():
    known, unseen = read_lists([OPEN, UNSEEN])
    assert {row.part for row in unseen} == {"score"} and len(unseen) > 30
    assert not {row.person for row in unseen} & {row.person for row in known}
    assert not {row.path for row in unseen} & {row.path for row in known}


def test_a_person_in_two_parts_of_two_lists_is_refused(tmp_path):
    for name, part in (("a", "train"), ("b", "score")):
        (tmp_path / f"{name}.tsv").write_text(COLUMNS + LINE.replace("train", part))
    with pytest.raises(FileError, match="b.tsv: one is in two parts"):
        read_lists([tmp_path / "a.tsv", tmp_path / "b.tsv"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks any volume"),
        (COLUMNS.replace("\tpart", "") + LINE, "lacks part"),
        (COLUMNS + LINE.replace("train", "test"), "has the part 'test'"),
        (COLUMNS + LINE.replace("head", "knee"), "the anatomy 'knee'"),
        (COLUMNS + LINE + LINE.replace("train", "score"), "one is in two parts"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path, text, said):
    path = tmp_path / "list.tsv"
    path.write_text(text)
    with pytest.raises(FileError, match=said):
        read_list(path)


def test_a_list_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileError, match=r"none.tsv: cannot be read"):
        read_list(tmp_path / "none.tsv")


def test_stacks_and_volumes_are_read(tmp_path):
    write_volume(analytic_head()["T1w"], tmp_path / "a.nii")
    images = np.random.default_rng(0).random((6, 16, 16), dtype=np.float32)
    np.savez(tmp_path / "h.npz", images=images, segs=images > 1, caseIndices=[(0, 3), (3, 6)],
             caseVoxelSize=np.tile([1.4, 1.5, 8.0], (6, 1)))  # fmt: skip

    def rows(anatomy, path):
        return list(volumes_of(Row("a", "a", "train", anatomy, "-", path, "", ""), [tmp_path]))

    assert rows("head", "a.nii")[0].shape == analytic_head()["T1w"].shape
    (stack,) = rows("heart", "h.npz#1:2")
    assert stack.shape == (16, 16, 3) and stack.spacing.tolist() == pytest.approx([1.4, 1.5, 8])
    np.testing.assert_array_equal(stack.array[..., 0], images[3])


def test_a_file_is_taken_from_the_first_folder_that_has_it(tmp_path):
    row = Row("a", "a", "score", "head", "T1w", "sub/a.nii", "CC0-1.0", "a citation")
    first, second = tmp_path / "first", tmp_path / "second"
    (second / "sub").mkdir(parents=True)
    with pytest.raises(FileError, match=r"sub/a.nii: is in none of the folders .*a citation"):
        file_of(row, [first, second])
    (second / "sub/a.nii").touch()
    assert file_of(row, [first, second]) == second / "sub/a.nii"
    (first / "sub").mkdir(parents=True)
    (first / "sub/a.nii").touch()
    assert file_of(row, [first, second]) == first / "sub/a.nii"
