"""The catalogue of synthesis methods: one entry per paper. Imports nothing heavy.

To add a paper: a folder here with ``network.py`` and ``synthesis.py``, and one line below.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MethodSpec:
    """Where a method comes from and where its code is."""

    title: str
    reference: str  # authors, venue, year
    folder: str  # package that holds network.py (build_network) and synthesis.py (synthesize)


METHODS = {
    "cravim": MethodSpec(
        title="Hybrid State-Space Models and Denoising Training for Unpaired Medical Image "
        "Synthesis (CRAViM)",
        reference="Zhang & Jiang, MICCAI 2025",
        folder="MambaSynthLib.methods.cravim",
    ),
}
