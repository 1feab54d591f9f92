"""The engine for cine models: acquired frames in, the frames between them out.

    ED, ES --network--> motion --refined on ED and ES--> motion --course of time--> frames

| symbol | code          | meaning                                                                 |
|--------|---------------|-------------------------------------------------------------------------|
| tau    | ``fraction``  | time between ED (0) and ES (1)                                          |
| s      | ``share``     | share of the motion done by then, see timing.py                         |

With refinement, which is the default, the network says where the search begins, and the frames are
ED and ES, both moved, see motion.py. Without it they are the network's own, see network_frames.py.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.backends import choose_backend
from MambaSynthLib.cine.drawing import Motion, check_fractions, iterate_frames
from MambaSynthLib.cine.frame_stacks import Stacks
from MambaSynthLib.cine.judgment import judge_motion, judge_pair, refinement_of
from MambaSynthLib.cine.motion import PairMotion, fit_pair
from MambaSynthLib.cine.network_frames import NetworkMotion
from MambaSynthLib.cine.options import CineOptions
from MambaSynthLib.cine.preparation import prepare_cine
from MambaSynthLib.cine.timing import CARDIAC, LINEAR, Course, Timing
from MambaSynthLib.errors import Cancelled, ModelError
from MambaSynthLib.image.cine import USUAL_INTERVAL_MS
from MambaSynthLib.image.volume import Volume, check_same_grid
from MambaSynthLib.io.files import sha256_of
from MambaSynthLib.methods import METHODS
from MambaSynthLib.model.card import CineCard
from MambaSynthLib.model.package import ModelPackage
from MambaSynthLib.provenance import Provenance
from MambaSynthLib.watermark.marking import mark_frame, words_of_cine

Array = NDArray[np.float32]
Progress = Callable[[int, int], None]

NOT_REFINED = "none: the network's own frames"


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
        options: CineOptions | None = None,
        with_fields: bool = False,
        progress: Progress = lambda done, total: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> CineSynthesis:
        """The frames at ``fractions`` of the time (0: ED, 1: ES) on the grid of ED and ES.

        Fractions 0 and 1 give the acquired voxels themselves; the others get the mark in the
        voxels unless the options say no. ``progress`` counts the steps of the
        refinement and the frames.

        Raises
        ------
        VolumeError, RequestError: an unusable volume or fraction; nothing was computed.
        Cancelled: ``cancelled()`` was true.
        """
        options = options or CineOptions()
        check_fractions(fractions)
        steps = options.steps if options.refine else 0
        total = steps + len(fractions)
        progress(0, total)
        motion = self.find_motion(
            ed,
            es,
            options,
            progress=lambda done, planned: progress(steps * done // planned, total),
            cancelled=cancelled,
        )
        course = self.course(options, motion)
        frames: list[Volume] = []
        fields: list[Array | None] = []
        still = np.array_equal(ed.array, es.array)  # then every frame is acquired
        made = iterate_frames(motion, ed, es, fractions, course, with_fields)
        for fraction, (frame, field) in zip(fractions, made, strict=True):
            if cancelled():
                raise Cancelled
            new = not still and fraction not in (0, 1)
            frames.append(mark_frame(frame, self.card.id, wanted=new and options.pixel_mark))
            fields.append(field)
            progress(steps + len(frames), total)
        known = [field for field in fields if field is not None]
        provenance = self.provenance(ed, es, options=options, motion=motion)
        return CineSynthesis(frames, provenance, np.stack(known) if known else None)

    def find_motion(
        self,
        ed: Volume,
        es: Volume,
        options: CineOptions | None = None,
        *,
        stacks: Stacks | None = None,
        backwards: bool = False,
        apart_ms: float | None = None,
        progress: Progress = lambda done, total: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Motion:
        """What all frames between two acquired ones share, computed once.

        ``stacks``: how to look at them, where other intervals of a cine are looked at likewise.
        ``backwards``: the heart expands from the first to the second; the network, which has only
        seen hearts that contract, is asked for the way back. ``apart_ms``: the time between
        neighbors in a coarse cine; None for ED and ES.

        Raises VolumeError as ``prepare_cine``; Cancelled.
        """
        options = options or CineOptions()
        check_same_grid(es, ed)
        first, last = (es, ed) if backwards else (ed, es)
        network = NetworkMotion.of(
            self.method, self._network, first, last, self.card.grid, cancelled
        )
        if cancelled():
            raise Cancelled
        if not options.refine or not self._moves():
            return network
        start = None
        if not np.array_equal(ed.array, es.array):
            start = network.whole_field()
        if start is not None and backwards:
            start = -start
        return fit_pair(
            ed, es, stacks or Stacks.of([ed, es]), start=start,
            settings=options.fit_settings(apart_ms), progress=progress, cancelled=cancelled,
        )  # fmt: skip

    def _moves(self) -> bool:
        """Whether the method moves tissue; one that paints frames has nothing to refine."""
        return getattr(self._network.config, "mode", "deformation") != "image"

    def course(self, options: CineOptions, motion: Motion) -> Course:
        """The course of time from ED to ES where nothing between is known."""
        return self.timing(options, motion).course(USUAL_INTERVAL_MS)

    def timing(self, options: CineOptions, motion: Motion) -> Timing:
        """The chosen one; else the prior for refined motion, and the network's own for its own."""
        if options.timing:
            return options.timing
        return Timing(CARDIAC if isinstance(motion, PairMotion) else LINEAR)

    def provenance(
        self,
        ed: Volume,
        es: Volume,
        seed: int = 0,
        *,
        options: CineOptions | None = None,
        motion: Motion | None = None,
    ) -> Provenance:
        """What made the frames of this pair, and from what. ``motion``: as found, to judge it.

        Raises as ``synthesize``.
        """
        check_same_grid(es, ed)
        options = options or CineOptions()
        card = self.card
        sources = sha256_of(ed) + sha256_of(es)
        refinement = NOT_REFINED
        if options.refine and self._moves():
            refinement = refinement_of(options, motion)
        return Provenance(
            method=card.method,
            model_id=card.id,
            model_version=card.version,
            weights_sha256=card.weights_sha256,
            package_sha256=card.package_sha256,
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
            refinement=refinement,
            timing=self.timing(options, motion).name if motion is not None else None,
            pixel_mark=words_of_cine(ed, card.id, wanted=options.pixel_mark),
            warnings=self.warnings(ed, es, options, motion),
        )

    def warnings(
        self,
        ed: Volume,
        es: Volume,
        options: CineOptions | None = None,
        motion: Motion | None = None,
    ) -> tuple[str, ...]:
        """What the user should know about a pair before its frames are believed."""
        options = options or CineOptions()
        found = [*ed.notes, *es.notes, *judge_pair(ed, es)]
        if isinstance(motion, PairMotion):
            found += judge_motion(motion)
        if not (options.refine and self._moves()):
            preparation = prepare_cine(ed, es, self.card.grid)
            outside = preparation.slices_outside()
            if outside:
                found.append(
                    f"field of view: {outside} of {preparation.source_size[0]} slices lie beyond "
                    "what the model sees; motion fades out there"
                )
        return tuple(dict.fromkeys(found))


def _cine_card(package: ModelPackage) -> CineCard:
    if not isinstance(package.card, CineCard):
        command = "mask" if package.card.task == "mask" else "synthesize"
        raise ModelError(
            f"the model {package.card.id} synthesizes {package.card.direction}, no cine frames; "
            f"use it with 'mambasynth {command}', or choose another with 'mambasynth models list'."
        )
    return package.card
