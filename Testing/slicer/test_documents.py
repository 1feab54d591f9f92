"""The program that the module's tutorial prints, as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import hearts

README = Path(__file__).resolve().parents[2] / "MambaSynth/README.md"


def test_the_program_of_the_tutorial_runs(panel, models, monkeypatch, capsys):
    """With the panel's logic, whose child is a fake, and fake models of the shipped ones' names."""
    import slicer
    from panel import head, write_model

    import MambaSynth

    write_model(models, "cravim-t1w-t2w-compact")
    write_model(models, "mstg-cine-compact", "cine")
    for name in ("Head T1w", "Second head"):
        head(name)
    for node, name in zip(hearts.pair(), ("ED", "ES"), strict=True):
        node.SetName(name)
    monkeypatch.setattr(MambaSynth, "MambaSynthLogic", lambda: panel.logic)
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    names = {"getNode": slicer.util.getNode}  # as in Slicer's Python console
    exec(program, names)  # noqa: S102 (our own README)
    assert capsys.readouterr().out.strip() == names["synthetic"].GetAttribute(
        "MambaSynth.weights_sha256"
    )
    assert names["cine"].GetNumberOfDataNodes() == 30
    assert len(names["made"]) == 2 and names["failed"] == []
