"""The records of origin that tests put into files and nodes."""

from __future__ import annotations

from dataclasses import replace

from MambaSynthLib.provenance import Provenance

RECORD = Provenance(
    method="cravim",
    model_id="t1w-to-t2w",
    model_version="1.0",
    weights_sha256="a" * 64,
    source_contrast="T1w",
    target_contrast="T2w",
    source_name="sub-01_T1w.nii.gz",
    source_sha256="b" * 64,
    seed=7,
    steps=4,
    samples=1,
    noise="shared",
    backend="torch",
    device="cpu",
    precision="fp32",
)
CINE_RECORD = replace(
    RECORD,
    method="mstg",
    model_id="tiny-cine",
    source_contrast="ED + ES",
    target_contrast="cine",
    source_name="beat",
    seed=0,
    steps=1,
    noise="none",
)
