"""What a head is made of, as the scanner sees it.

| symbol | code            | unit      | meaning                                             |
|--------|-----------------|-----------|-----------------------------------------------------|
| T1     | ``t1``          | ms        | longitudinal relaxation time, at 1.5 T and at 3 T   |
| T2     | ``t2``          | ms        | transverse relaxation time, at 1.5 T and at 3 T     |
| rho    | ``pd``          | water = 1 | proton density that the coil can see                |
| -      | ``spread``      | relative  | standard deviation of (T1, T2, rho) between people  |

The labels are FreeSurfer's, and from 502 on those of whole-head segmentations (SAMSEG / CHARM,
Puonti et al., NeuroImage 219:117044, 2020). The published label maps do not name the latter; they
were recognized by where they lie, what they touch and their mean T1w intensity (prior in brackets):
502 arteries (126), 506 eyes (18), 507 all other soft tissue (94 +- 43), 508 eye muscles (117),
509 mucosa of nose and sinuses (70), 511 skin (114), 512 spinal cord (68), 514 veins and dural
sinuses (48), 515 compact bone (30), 516 bone marrow (94), 530 optic nerve (145). Label 24 (44) is
all fluid between brain and skull, 25 and 57 line the ventricles (116, between grey and white
matter), 136, 137, 163 and 164 lie in them (60, choroid plexus), 30 and 62 are widened perivascular
spaces beside the putamen (87), 72 is the cavum septi pellucidi and 85 the optic chiasm (160).

Sources, by the key used in the table. Values are rounded, "est." marks our own estimate where a
source gives only the neighboring value or only one field strength.

* Rooney 2007: Magn Reson Med 57:308 (T1 at 1.5 T and above, human brain)
* Wansapura 1999: J Magn Reson Imaging 9:531 (T1, T2 at 3 T, human brain)
* Stanisz 2005: Magn Reson Med 54:507 (T1, T2 at 1.5 T and 3 T, excised tissue at 37 C)
* Gelman 1999: Radiology 210:759 (R2 and iron at 3 T); Gelman 2001: Magn Reson Med 45:71 (T1 at 3 T)
* Kwan 1999: IEEE Trans Med Imaging 18:1085 (BrainWeb: T1, T2, PD at 1.5 T, multiple sclerosis too)
* Gold 2004: AJR Am J Roentgenol 183:343 (fat, marrow, muscle at 1.5 T and 3 T)
* Lin 2001: J Magn Reson Imaging 14:700 (T1 of cerebrospinal fluid at 3 T)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import VolumeError

FIELDS_TESLA = (1.5, 3.0)
LESION_LABEL = 77  # FreeSurfer: white matter hypointensities
FLUID_AROUND_BRAIN = 24
SOFT_TISSUE = 507
SKIN_LABEL, EYE_LABEL = 511, 506
VENTRICLES = (4, 5, 14, 15, 43, 44, 72)


@dataclass(frozen=True)
class Tissue:
    """One row of the table: (1.5 T, 3 T) relaxation times in ms, PD relative to water."""

    name: str
    labels: tuple[int, ...]
    t1: tuple[float, float]
    t2: tuple[float, float]
    pd: float
    source: str
    spread: tuple[float, float, float] = (0.04, 0.04, 0.015)
    brain: bool = True  # part of the skull-stripped head
    texture: float = 1.0  # how uneven within one person, relative to brain tissue


_LOOSE = (0.12, 0.15, 0.06)  # spread outside the brain, where people and sources differ more

# fmt: off
TISSUES = (
    Tissue("air", (0,), (1000, 1000), (1, 1), 0.0, "-", (0, 0, 0), brain=False),
    Tissue("white matter", (2, 41), (656, 832), (70, 75), 0.77,
           "T1 Rooney 2007, Wansapura 1999; T2 Kwan 1999, Stanisz 2005 (69) / Wansapura 1999 (80); "
           "PD Kwan 1999"),
    Tissue("cortex", (3, 42), (1188, 1331), (87, 92), 0.86,
           "T1 Rooney 2007, Wansapura 1999; T2 Kwan 1999 (83), Stanisz 2005 (95, 99), "
           "Wansapura 1999 (80-110); PD Kwan 1999"),
    Tissue("cerebellar white matter", (7, 46), (690, 870), (72, 76), 0.78,
           "est. from white matter: a little less myelin, so a little longer"),
    Tissue("cerebellar cortex", (8, 47), (1120, 1280), (87, 90), 0.85,
           "est. from cortex: thin folia, never free of white matter"),
    Tissue("brain stem", (16,), (760, 940), (74, 76), 0.79,
           "est. between white matter and thalamus"),
    Tissue("ventral diencephalon", (28, 60), (760, 950), (66, 66), 0.79,
           "est. as brain stem, T2 shorter for the iron of substantia nigra and red nucleus"),
    Tissue("thalamus", (10, 49), (970, 1218), (79, 77), 0.82,
           "T1 Gelman 2001 at 3 T, 1.5 T scaled as in Rooney 2007; T2 est. after Gelman 1999"),
    Tissue("caudate", (11, 50), (1083, 1400), (83, 82), 0.85,
           "T1 Rooney 2007, Gelman 2001; T2 est. after Gelman 1999"),
    Tissue("putamen", (12, 51), (981, 1337), (78, 76), 0.84,
           "T1 Rooney 2007, Gelman 2001; T2 est. after Gelman 1999"),
    Tissue("accumbens", (26, 58), (1083, 1370), (83, 82), 0.85, "est. as caudate"),
    Tissue("pallidum", (13, 52), (800, 1043), (64, 57), 0.80,
           "T1 Gelman 2001 at 3 T, 1.5 T scaled; T2 est. after Gelman 1999 (most iron)"),
    Tissue("hippocampus and amygdala", (17, 18, 53, 54), (1188, 1360), (95, 98), 0.86,
           "est. from cortex, T2 at the upper end of Wansapura 1999"),
    Tissue("cerebrospinal fluid", (FLUID_AROUND_BRAIN, *VENTRICLES), (4070, 4160), (1500, 1400),
           1.0, "T1 Rooney 2007, Lin 2001; T2 est. for pure fluid (Kwan 1999: 329); PD Kwan 1999",
           (0.03, 0.1, 0.01), texture=0.1),
    Tissue("choroid plexus", (30, 31, 62, 63, 136, 137, 163, 164), (1700, 2000), (150, 150), 0.93,
           "est. between cortex and fluid", (0.1, 0.15, 0.03)),
    Tissue("ventricle lining", (25, 57), (900, 1080), (95, 98), 0.82,
           "est. a third of the way from white matter to the lesions of Kwan 1999",
           (0.08, 0.08, 0.02)),
    Tissue("lesion", (LESION_LABEL,), (1000, 1250), (180, 170), 0.84,
           "T1 1.5 times that of white matter as in Kwan 1999; T2 below its 237, as chronic and "
           "fresh plaques mix", (0.1, 0.2, 0.03)),
    Tissue("optic nerve", (85, 530), (815, 1083), (77, 78), 0.78,
           "Stanisz 2005; PD as white matter"),
    Tissue("spinal cord", (512,), (745, 993), (74, 78), 0.78, "Stanisz 2005", brain=False),
    Tissue("vitreous", (506,), (3900, 4000), (900, 800), 1.0,
           "est. as fluid with a little collagen", _LOOSE, brain=False, texture=0.1),
    Tissue("muscle", (508, SOFT_TISSUE), (1008, 1412), (44, 50), 0.80,
           "T1, T2 Stanisz 2005; PD est. (Kwan 1999 has 1.0)", _LOOSE, brain=False, texture=3),
    Tissue("fat", (), (288, 371), (165, 133), 0.70,
           "T1, T2 Gold 2004 (subcutaneous); PD est., less what the chemical shift takes away",
           _LOOSE, brain=False, texture=3),
    Tissue("skin", (SKIN_LABEL,), (700, 800), (42, 42), 0.55,
           "est. between muscle and fat of Kwan 1999 at lower PD", _LOOSE, brain=False),
    Tissue("mucosa", (509,), (1250, 1500), (80, 80), 0.75, "est. as wet muscle", _LOOSE,
           brain=False, texture=3),
    Tissue("artery", (502,), (1441, 1932), (290, 275), 0.35,
           "T1, T2 Stanisz 2005; low PD stands in for the flow void", (0.05, 0.1, 0.4),
           brain=False),
    Tissue("vein", (514,), (1441, 1932), (150, 120), 0.40,
           "T1 Stanisz 2005; T2 est. shorter for less oxygen; low PD for flow", (0.05, 0.1, 0.3),
           brain=False),
    Tissue("compact bone", (515,), (300, 300), (1, 1), 0.15, "est.: too short a T2 to be seen",
           _LOOSE, brain=False),
    Tissue("marrow", (516,), (350, 400), (110, 100), 0.45,
           "est. from the fat marrow of Gold 2004 (288, 365; 165, 133), diluted by bone", _LOOSE,
           brain=False, texture=3),
)
# fmt: on

INDEX = {tissue.name: index for index, tissue in enumerate(TISSUES)}
BRAIN_LABELS = tuple(
    label
    for tissue in TISSUES
    if tissue.brain
    for label in tissue.labels
    if label not in (FLUID_AROUND_BRAIN, 530)  # the optic nerve leaves the skull
)


def tissue_indices(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """The row of ``TISSUES`` for every label, same shape.

    Raises
    ------
    VolumeError: there is a label that no tissue claims.
    """
    known = {label: INDEX[tissue.name] for tissue in TISSUES for label in tissue.labels}
    low, high = int(labels.min()), int(labels.max())
    table = np.full(max(high, max(known)) + 1, 255, dtype=np.uint8)
    table[list(known)] = list(known.values())
    rows = table[labels] if low >= 0 else np.full(labels.shape, 255, dtype=np.uint8)
    if np.any(rows == 255):
        strangers = sorted(set(np.unique(labels).tolist()) - set(known))
        raise VolumeError(
            f"label map: holds the labels {strangers[:8]} that stand for no known tissue; "
            "set them to 0 or add them to MambaSynthLib/phantom/tissues.py."
        )
    return rows


def mean_properties(field_tesla: float) -> NDArray[np.float64]:
    """(tissues, 3) table of T1 in ms, T2 in ms and PD at 1.5 T or 3 T."""
    at = FIELDS_TESLA.index(field_tesla)
    return np.array([(t.t1[at], t.t2[at], t.pd) for t in TISSUES], dtype=np.float64)


def draw_properties(field_tesla: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(tissues, 3) T1, T2 and PD of one person: the table times exp(spread * normal)."""
    spread = np.array([tissue.spread for tissue in TISSUES])
    # cut at two standard deviations, so that the order of tissues cannot turn around
    deviation = np.clip(rng.standard_normal(spread.shape), -2, 2)
    return mean_properties(field_tesla) * np.exp(spread * deviation)
