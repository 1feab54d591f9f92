"""The engine for cine models: an ED and an ES volume in, the frames between them out.

| symbol | code          | meaning                                                                 |
|--------|---------------|-------------------------------------------------------------------------|
| gamma  | ``fraction``  | phase between ED (0) and ES (1)                                         |
| u      | ``field``     | pull field of a frame to ED, in canvas voxels, see cine_preparation.py  |
| y      | ``image``     | the method's frame on its own canvas, in [0,1]                          |

A frame is  V_ED pulled by u,  plus what the method changed beyond motion,  y - y_ED pulled by u.
Motion is applied to the acquired voxels on their own grid, so that frames stay as sharp as ED.
Beyond the network's field of view, frames pass from ED to ES linearly.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.backends import choose_backend
from MambaSynthLib.cine.phases import seems_swapped
from MambaSynthLib.cine.preparation import CinePreparation, prepare_cine
from MambaSynthLib.errors import Cancelled, ModelError, RequestError
from MambaSynthLib.image.volume import Volume, check_same_grid
from MambaSynthLib.io.files import sha256_of
from MambaSynthLib.methods import METHODS
from MambaSynthLib.model.card import CineCard
from MambaSynthLib.model.package import ModelPackage
from MambaSynthLib.provenance import Provenance

NO_CHANGE = 1e-4  # of the intensity range; smaller differences are rounding

Array = NDArray[np.float32]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CineSynthesis:
    """The frames at the wanted fractions, and how they were made.

    fields: (F,3,I,J,K) the pull field of each frame to ED in voxels along the source's own axes,
        for moving labels; None for a method without motion.
    """

    frames: list[Volume]
    provenance: Provenance
    fields: Array | None = None


class CineEngine:
    """A cine model package, loaded once and used for any number of hearts.

    Raises ModelError when the package is damaged or synthesizes no cine, RequestError when the
    device or the backend is not here.
    """

    def __init__(self, package: ModelPackage, device: str = "auto", backend: str = "auto") -> None:
        self.package = package
        self.card = _cine_card(package)
        runtime = choose_backend(backend, device)
        self.backend = runtime.NAME
        self.device = runtime.choose_device(device)
        self._network: Any = runtime.load_network(package, self.device)
        self.method = importlib.import_module(f"{METHODS[self.card.method].folder}.synthesis")

    def synthesize(
        self,
        ed: Volume,
        es: Volume,
        fractions: Sequence[float],
        *,
        with_fields: bool = False,
        progress: Progress = lambda done, total: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> CineSynthesis:
        """The frames at ``fractions`` (0: ED, 1: ES) on the grid of ED and ES.

        Fractions 0 and 1 give the acquired voxels themselves.

        Raises
        ------
        VolumeError, RequestError: an unusable volume or fraction; nothing was computed.
        Cancelled: ``cancelled()`` was true.
        """
        provenance = self.provenance(ed, es)
        frames: list[Volume] = []
        fields: list[Array | None] = []
        progress(0, len(fractions))
        for frame, field in self._frames(ed, es, fractions, with_fields, cancelled):
            frames.append(frame)
            fields.append(field)
            progress(len(frames), len(fractions))
        known = [field for field in fields if field is not None]
        return CineSynthesis(frames, provenance, np.stack(known) if known else None)

    def frames(
        self,
        ed: Volume,
        es: Volume,
        fractions: Sequence[float],
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Volume]:
        """As ``synthesize``, but one frame after the other, so that any number fits in memory."""
        for frame, _ in self._frames(ed, es, fractions, False, cancelled):
            yield frame

    def _frames(
        self,
        ed: Volume,
        es: Volume,
        fractions: Sequence[float],
        with_fields: bool,
        cancelled: Callable[[], bool],
    ) -> Iterator[tuple[Volume, Array | None]]:
        _check_fractions(fractions)
        check_same_grid(es, ed)
        pair = _Pair.of(ed, es, prepare_cine(ed, es, self.card.grid))
        moving = not np.array_equal(ed.array, es.array)
        computed = [gamma for gamma in fractions if moving and (with_fields or 0 < gamma < 1)]
        made: Iterator[Any] = iter(())
        if computed:
            network = _Cancellable(self._network, cancelled)
            made = self.method.iterate_frames(network, pair.canvas_ed, pair.canvas_es, computed)
        still = np.zeros((3, *pair.preparation.canvas_size), np.float32)
        for gamma in fractions:
            found = next(made) if moving and (with_fields or 0 < gamma < 1) else None
            if cancelled():
                raise Cancelled
            array = pair.frame(found, gamma)
            field = None
            if with_fields and (found is None or found.field is not None):
                motion = still if found is None or gamma == 0 else found.field
                field = pair.preparation.field_of_source(motion)
            yield ed.with_array(array, f"{ed.name} synthetic cine"), field

    def warnings(self, ed: Volume, es: Volume) -> tuple[str, ...]:
        """What the user should know about a pair before its frames are believed."""
        found = [*ed.notes, *es.notes]
        if np.array_equal(ed.array, es.array):
            found.append("ED and ES are identical: every frame is a copy of them")
        elif seems_swapped(ed, es):
            found.append("ED and ES seem swapped: the blood pool is larger in ES than in ED")
        preparation = prepare_cine(ed, es, self.card.grid)
        outside = preparation.slices_outside()
        if outside:
            found.append(
                f"field of view: {outside} of {preparation.source_size[0]} slices lie beyond what "
                "the model sees; motion fades out there"
            )
        return tuple(dict.fromkeys(found))

    def provenance(self, ed: Volume, es: Volume, seed: int = 0) -> Provenance:
        """What made the frames of this pair, and from what. Raises as ``synthesize``."""
        check_same_grid(es, ed)
        card = self.card
        sources = sha256_of(ed) + sha256_of(es)
        return Provenance(
            method=card.method,
            model_id=card.id,
            model_version=card.version,
            weights_sha256=card.weights_sha256,
            source_contrast="ED + ES",
            target_contrast="cine",
            source_name=ed.name if ed.name == es.name else f"{ed.name} + {es.name}",
            source_sha256=hashlib.sha256(sources.encode("ascii")).hexdigest(),
            seed=seed,
            steps=1,
            samples=1,
            noise="none",
            backend=self.backend,
            device=self.device,
            precision=self._network.places[0].precision,
            warnings=self.warnings(ed, es),
        )


@dataclass(frozen=True)
class _Pair:
    """ED and ES as acquired and as the network sees them."""

    ed: Volume
    es: Volume
    preparation: CinePreparation
    canvas_ed: Array
    canvas_es: Array

    @classmethod
    def of(cls, ed: Volume, es: Volume, preparation: CinePreparation) -> _Pair:
        canvases = preparation.to_network(ed), preparation.to_network(es)
        return cls(ed, es, preparation, *canvases)

    def frame(self, made: Any, gamma: float) -> Array:
        """(I,J,K) what the method made (image and field), in the units of ED and ES."""
        if gamma in (0, 1) or made is None:
            return self.es.array if gamma == 1 else self.ed.array
        blend = self.ed.array + np.float32(gamma) * (self.es.array - self.ed.array)
        prepared = self.preparation
        seen = prepared.from_network(np.ones(prepared.canvas_size, np.float32))
        if made.field is None:
            painted = prepared.from_network(made.image) * prepared.intensity_range
            return painted + seen * np.float32(prepared.low) + (1 - seen) * blend
        moved = prepared.moved(self.ed, made.field)
        change = _beyond_motion(made.image, self.canvas_ed, made.field)
        if change is not None:
            moved += prepared.from_network(change) * prepared.intensity_range
        frame: Array = np.where(seen == 1, moved, seen * moved + (1 - seen) * blend)
        return frame


def _beyond_motion(image: Array, ed: Array, field: Array) -> Array | None:
    """(D,H,W) the part of ``image`` that moving ``ed`` does not explain; None where there is none.

    Where the field points out of the canvas it is not known what was moved: there it is that of
    the nearest voxel where it is, so that no edge shows.
    """
    from scipy.ndimage import distance_transform_edt, map_coordinates

    places = field + np.stack(np.meshgrid(*map(np.arange, ed.shape), indexing="ij"))
    last = np.array(ed.shape).reshape(3, 1, 1, 1) - 1
    inside = np.all((places >= 0) & (places <= last), axis=0)
    if not inside.any():
        return None
    change = image - map_coordinates(ed, places, order=1, mode="nearest")
    if not inside.all():
        nearest = distance_transform_edt(~inside, return_distances=False, return_indices=True)
        change = change[tuple(nearest)]
    return change.astype(np.float32) if np.abs(change).max() > NO_CHANGE else None


class _Cancellable:
    """A method's network that asks between computations whether to go on."""

    def __init__(self, network: Any, cancelled: Callable[[], bool]) -> None:
        self._network, self._cancelled = network, cancelled

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._network, name)
        if not callable(found):
            return found

        def call(*arguments: Any) -> Any:
            if self._cancelled():
                raise Cancelled
            return found(*arguments)

        return call


def _check_fractions(fractions: Sequence[float]) -> None:
    for fraction in fractions:
        if not 0 <= fraction <= 1:  # also refuses NaN
            raise RequestError(
                f"the phase {fraction:g} is not between ED (0) and ES (1); give 0 to 1."
            )


def _cine_card(package: ModelPackage) -> CineCard:
    if not isinstance(package.card, CineCard):
        raise ModelError(
            f"the model {package.card.id} synthesizes {package.card.direction}, no cine frames; "
            "use it with 'mambasynth synthesize', or choose another with 'mambasynth models list'."
        )
    return package.card
