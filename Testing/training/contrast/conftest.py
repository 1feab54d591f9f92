"""The data set that the tests of ``cravim-heads`` learn from."""

from __future__ import annotations

import pytest

from MambaSynthLib.io.files import write_volume
from MambaSynthTraining.data.heads_list import read_list
from MambaSynthTraining.data.heads_set import make_pair, write_list
from Testing.training.contrast.head_runs import head
from Testing.training.made_up_heads import COLUMNS


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """(folder of the volumes, their list, the data set of two persons)."""
    folder = tmp_path_factory.mktemp("heads")
    lines = ["\t".join(COLUMNS)]
    for n, person in enumerate(("anna", "bert")):
        for contrast in ("T1w", "T2w"):
            write_volume(head(contrast, n), folder / f"{person}_{contrast}.nii.gz")
        row = (person, person, "1", f"{person}_T1w.nii.gz", f"{person}_T2w.nii.gz", "no", "", "",
               "", "CC0-1.0", "computed")  # fmt: skip
        lines.append("\t".join(row))
    (folder / "list.tsv").write_text("\n".join(lines) + "\n")
    out = folder / "set"
    entries = [e for p in read_list(folder / "list.tsv") for e in make_pair(out, folder, p, None)]
    write_list(out, entries, ["bert"])
    return folder, folder / "list.tsv", out
