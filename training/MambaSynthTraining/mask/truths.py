"""What is known of a volume: where its brain and its head are.

| volume               | brain                                     | head                          |
|----------------------|-------------------------------------------|-------------------------------|
| a head               | by the teacher, once for each head, or a  | what is not air around it, by |
|                      | file                                      | ``image/head.py``             |
| without its skull    | what is left of it                        | the same                      |
| phantom, exact       | of its labels, with the fluid close by    | of its labels, holes filled   |

The teacher takes a minute a head, so its masks are kept in a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.head import air_around
from MambaSynthLib.image.volume import Volume, spacing
from MambaSynthLib.io.atomic import telling
from MambaSynthLib.io.files import read_volume
from MambaSynthLib.phantom.signal_equations import CONTRASTS
from MambaSynthLib.phantom.tissues import BRAIN_LABELS, TISSUES, tissue_indices
from MambaSynthTraining.data.head_registration import read_affine
from MambaSynthTraining.data.phantom import anatomy, phantom_subject, read_label_map
from MambaSynthTraining.data.phantom_anatomy import brain_mask
from MambaSynthTraining.data.phantom_config import PhantomConfig
from MambaSynthTraining.data.registration import Registration
from MambaSynthTraining.mask.listed import TEACHER, Row

EVERY = 2  # voxels of a label map: phantoms of 2 mm
MARGIN_MM = 6.0  # of fluid around the brain that counts as brain: so far the teacher goes
CLOSING_MM = 7.0  # half the width of a gap that does not let the air into a head
ANY_CONTRAST = 2  # images of random brightness for each phantom

Mask = NDArray[np.bool_]
Teacher = Callable[[Volume], Mask]


@dataclass(frozen=True)
class Truth:
    """A volume and its masks (I,J,K). ``whole``: with its skull; ``group``: of similar ones."""

    id: str
    group: str
    volume: Volume
    brain: Mask
    head: Mask
    whole: bool


def truths_of(
    rows: Sequence[Row], data: Path, kept: Path, teacher: Teacher | None, seed: int, people: int
) -> Iterator[Truth]:
    """Those of all lines; of a label map, ``people`` phantoms in every contrast.

    Raises FileError: a file cannot be used, or a mask has to be made and there is no teacher.
    """
    owners = {row.id: row for row in rows}
    for row in rows:
        if row.anatomy == "labels":
            yield from phantoms_of(row, data, seed, people)
            continue
        volume = read_volume(data / row.path)
        head = ~air_around(volume)
        brain = head
        if row.anatomy == "head":
            brain = _moved(owners[row.owner], row, volume, data, kept, teacher)
            head = head | brain
        group = f"{row.anatomy} {row.contrast}"
        yield Truth(row.id, group, volume, brain, head, row.anatomy == "head")


def _moved(
    owner: Row, row: Row, volume: Volume, data: Path, kept: Path, teacher: Teacher | None
) -> Mask:
    """The owner's mask on the grid of ``volume``."""
    if owner.mask == TEACHER:
        source = volume if owner is row else read_volume(data / owner.path)
        found = taught(owner, source, kept, teacher)
        if owner is row:
            return found
        mask = source.with_array(found.astype(np.float32))
    else:
        mask = read_volume(data / owner.mask)
    matrix = _common(owner, data) @ np.linalg.inv(_common(row, data))
    moved: Mask = Registration("affine", matrix, 0.0, 0.0).apply(mask, volume).array > 0.5
    return moved


def _common(row: Row, data: Path) -> NDArray[np.float64]:
    """(4,4) a point of the common space -> its place in the volume of ``row``."""
    return read_affine(data / row.to_common) if row.to_common else np.eye(4)


def taught(row: Row, volume: Volume, kept: Path, teacher: Teacher | None) -> Mask:
    """The teacher's mask, from the folder ``kept`` where it is there already."""
    path = kept / f"{row.id}.npz"
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as stored:
                bits, shape = stored["bits"], tuple(stored["shape"])
        except (OSError, ValueError, KeyError) as error:
            raise FileError(f"{path}: is no kept mask; delete it.") from error
        if shape == volume.shape:
            return np.unpackbits(bits, count=volume.array.size).astype(bool).reshape(shape)
    if teacher is None:
        raise FileError(
            f"{path}: is not there; name the teacher that makes it with --brain-teacher."
        )
    mask = teacher(volume)
    with telling(kept):
        kept.mkdir(parents=True, exist_ok=True)
        np.savez(path, bits=np.packbits(mask), shape=np.array(volume.shape))
    return mask


def phantoms_of(row: Row, data: Path, seed: int, people: int) -> Iterator[Truth]:
    """Phantoms of a label map: every contrast of the signal equations, and of random brightness."""
    labels, affine = read_label_map(data / row.path)
    labels, affine = labels[::EVERY, ::EVERY, ::EVERY], affine @ np.diag([*[EVERY] * 3, 1.0])
    config = PhantomConfig()
    for number in range(people):
        images = phantom_subject(labels, affine, _rng(seed, number), CONTRASTS, config)
        body, own, *_ = anatomy(labels, affine, _rng(seed, number), config)  # of the same person
        for n in range(ANY_CONTRAST):
            array = any_contrast(body, _rng(seed, number, n))
            images[f"any{n}"] = Volume(array, own, "phantom of any contrast")
        brain = brain_mask(body, np.isin(body, BRAIN_LABELS), spacing(own), MARGIN_MM)
        head = solid(body > 0, spacing(own))
        for contrast, volume in images.items():
            name = f"{row.id}-{number}-{contrast}"
            yield Truth(name, f"phantom {contrast.rstrip('0123456789')}", volume, brain, head, True)


def _rng(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(numbers)


def solid(tissue: Mask, voxel: NDArray[np.float64]) -> Mask:
    """The tissue with what it encloses, narrow ways to the outside closed."""
    radii = np.maximum(1, np.rint(CLOSING_MM / voxel)).astype(int)
    padded = np.pad(tissue, [(r + 1, r + 1) for r in radii])
    ball = np.ones((3, 3, 3), bool)
    steps = int(radii.max())
    closed = ndimage.binary_erosion(ndimage.binary_dilation(padded, ball, steps), ball, steps)
    filled: Mask = ndimage.binary_fill_holes(closed | padded)
    return filled[tuple(slice(r + 1, n - r - 1) for r, n in zip(radii, padded.shape, strict=True))]


def any_contrast(body: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.float32]:
    """Every tissue of a random brightness; air stays the darkest."""
    table = 1000 * rng.uniform(0.1, 1, len(TISSUES)).astype(np.float32)
    table[0] = 0
    image = table[tissue_indices(body)]
    texture = ndimage.gaussian_filter(rng.standard_normal(body.shape, np.float32), 1)
    blurred = ndimage.gaussian_filter(image * (1 + 0.2 * texture), rng.uniform(0.3, 0.7))
    noise = 20 * rng.random() * rng.standard_normal((2, *body.shape), np.float32)
    found: NDArray[np.float32] = np.hypot(blurred + noise[0], noise[1])
    return found
