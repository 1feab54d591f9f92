"""The catalogue of synthesis methods: one entry per paper. Imports nothing heavy.

To add a paper: a folder here with ``network.py`` and ``synthesis.py``, and one line below. The
sizes of its network go into ``models/model.schema.json``; ``MambaSynthTraining/methods.py`` trains
it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MethodSpec:
    """Where a method comes from and where its code is."""

    title: str
    reference: str  # authors, venue, year
    task: str  # "contrast": one contrast from another; "cine": the frames between two
    # Package that holds network.py (build), synthesis.py (synthesize) and, if the network can be
    # made cheaper once it is trained, inference.py (prepare).
    folder: str


METHODS = {
    "cravim": MethodSpec(
        title="Hybrid State-Space Models and Denoising Training for Unpaired Medical Image "
        "Synthesis (CRAViM)",
        reference="Zhang & Jiang, MICCAI 2025",
        task="contrast",
        folder="MambaSynthLib.methods.cravim",
    ),
    "mstg": MethodSpec(
        title="Synthesis of the cine frames between end-diastole and end-systole (MSTG)",
        reference="Zhang & Liang",
        task="cine",
        folder="MambaSynthLib.methods.mstg",
    ),
}
