"""The catalogue of synthesis methods: one entry per paper. Imports nothing heavy.

To add a paper: a folder here with ``network.py`` and ``synthesis.py``, and one line below.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MethodSpec:
    """Where a method comes from and where its code is."""

    task: str  # 'contrast': volumes of another contrast; 'cine': frames between ED and ES
    title: str
    reference: str  # authors, venue, year
    # Package that holds network.py (build), synthesis.py (synthesize) and, if the network can be
    # made cheaper once it is trained, inference.py (prepare).
    folder: str


METHODS = {
    "cravim": MethodSpec(
        task="contrast",
        title="Hybrid State-Space Models and Denoising Training for Unpaired Medical Image "
        "Synthesis (CRAViM)",
        reference="Zhang & Jiang, MICCAI 2025",
        folder="MambaSynthLib.methods.cravim",
    ),
    "mstg": MethodSpec(
        task="cine",
        title="Cine frames between end-diastole and end-systole by a Mamba-based diffusion and "
        "deformation network (MSTG)",
        reference="Zhang & Liang",
        folder="MambaSynthLib.methods.mstg",
    ),
}
