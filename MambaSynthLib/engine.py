"""The engine: a model package, its network on a device, and volumes in and out.

The Slicer button, the command line, Python users and the training's evaluation all call
``Engine.synthesize``, so what is scored is what is clicked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.backends import choose_backend
from MambaSynthLib.errors import Cancelled, ModelError, RequestError
from MambaSynthLib.image.alternation import Alternation
from MambaSynthLib.image.neighbors import OverlapMean
from MambaSynthLib.image.plan import Plan
from MambaSynthLib.image.planes import CHOICES, PLANES, THIN_MM, plane_across, planes_for
from MambaSynthLib.image.preparation import Preparation, prepare
from MambaSynthLib.image.skull import has_skull
from MambaSynthLib.image.suitability import doubts, taken_for
from MambaSynthLib.image.targets import Targets
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import sha256_of
from MambaSynthLib.mask.nearness import near_brain
from MambaSynthLib.methods import METHODS
from MambaSynthLib.model.card import ContrastCard
from MambaSynthLib.model.package import ModelPackage
from MambaSynthLib.provenance import Place, Provenance, fallback_warnings
from MambaSynthLib.watermark.marking import mark

NOISES = ("per-slice", "shared")
LARGEST_SEED = 2**63 - 1
MOST_SAMPLES = 64

Stack = NDArray[np.float32]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Request:
    """The options of one synthesis, checked against the model.

    steps: network calls per noise draw; samples: noise draws averaged; seed: of all noise;
    noise: a draw of its own for each slice, or one shared along the slice axis; slices: (first,
    one past last) along the model's slice axis, counted from the patient's feet for axial models;
    batch: slices per network call; planes: in which the volume is cut, see ``planes_for``.
    """

    steps: int
    samples: int
    seed: int
    noise: str
    slices: tuple[int, int] | None
    batch: int
    planes: str = "auto"

    def __post_init__(self) -> None:
        for name in ("steps", "samples", "seed", "batch"):
            if not isinstance(getattr(self, name), int):
                raise RequestError(f"{name} is {getattr(self, name)!r}; give a whole number.")
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise RequestError(f"samples is {self.samples}; give 1 to {MOST_SAMPLES}.")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise RequestError(f"seed is {self.seed}; give 0 to {LARGEST_SEED}.")
        if self.noise not in NOISES:
            raise RequestError(f"noise is {self.noise!r}; give {' or '.join(NOISES)}.")
        if self.batch < 1:
            raise RequestError(f"batch is {self.batch}; give at least 1.")
        if self.planes not in CHOICES:
            raise RequestError(f"planes is {self.planes!r}; give {', '.join(CHOICES)}.")
        if self.planes == "all" and self.slices is not None:
            raise RequestError(
                "a range of slices lies in one plane; leave out slices, or planes all."
            )


@dataclass(frozen=True)
class Synthesis:
    """What ``Engine.synthesize`` returns: the volumes by contrast, and how they were made.

    provenance: of all targets; ``record_of`` gives that of one.
    spreads: by contrast, in the target's units: of a model with intervals the half-width in which
        90 % of acquired values lie; else the standard deviation over 2 or more noise draws. The
        record of one is ``record_of(contrast).of_spread()``.
    """

    volumes: dict[str, Volume]
    provenance: Provenance
    spreads: dict[str, Volume]

    def record_of(self, target: str) -> Provenance:
        """Where the volume of one target contrast comes from."""
        return replace(self.provenance, target_contrast=target)


class Calls:
    """How far a synthesis has come, and where its network really computed.

    ``total`` counts slices, in all planes together.
    """

    def __init__(self, total: int, progress: Progress, cancelled: Callable[[], bool]) -> None:
        self.places: tuple[Place, ...] = ()  # in the order of use
        self._total, self._progress, self._cancelled = total, progress, cancelled
        self._done = 0
        progress(0, total)

    def check(self) -> None:
        """Raises Cancelled."""
        if self._cancelled():
            raise Cancelled

    def finished(self, slices: int) -> None:
        self._done += slices
        self._progress(self._done, self._total)


class Engine:
    """A model package, loaded once and used for any number of volumes.

    ``precision`` of the convolutions is auto, fp32, tf32, fp16 or bf16; see ``torch_backend``.
    Raises ModelError when the package is damaged, RequestError when the device, the backend or the
    precision is not here.
    """

    def __init__(
        self,
        package: ModelPackage,
        device: str = "auto",
        backend: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.package = package
        self.card = contrast_card(package)
        runtime = choose_backend(backend, device)
        self.backend = runtime.NAME
        self.device = runtime.choose_device(device)
        self._default_batch = runtime.default_batch(self.device)
        self._network = runtime.load_network(package, self.device, precision)
        self.method = METHODS[self.card.method].part("synthesis")

    def synthesize(
        self,
        sources: Mapping[str, Volume],
        *,
        steps: int | None = None,
        samples: int | None = None,
        seed: int = 0,
        noise: str = "per-slice",
        slices: tuple[int, int] | None = None,
        batch: int | None = None,
        planes: str = "auto",
        pixel_mark: bool = True,
        progress: Progress = lambda done, total: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Synthesis:
        """The target contrasts of ``sources`` (contrast -> Volume) on the sources' own grid.

        Options as in ``Request``; None takes the model card's default. Slices that hold nothing
        but background, or lie outside ``slices``, are not computed and hold the background's
        value. A range of slices is computed in the model's own plane alone. ``pixel_mark``: put
        the mark into the voxels, see ``watermark``; the record says whether.
        ``progress(done, total)`` counts slices; ``cancelled()`` is asked between network calls.

        Raises
        ------
        VolumeError, RequestError: an unusable volume or option; nothing was computed.
        Cancelled: ``cancelled()`` was true.
        """
        card = self.card
        request = Request(
            steps=steps if steps is not None else card.sampling.default_steps,
            samples=samples if samples is not None else card.sampling.default_samples,
            seed=seed,
            noise=noise,
            slices=slices,
            batch=batch if batch is not None else self._default_batch,
            planes=planes,
        )
        self._check(request, sources)
        source, *others = (sources[contrast] for contrast in card.source_contrasts)
        preparation = prepare(source, card.grid, card.intensity, *others)
        cut_in = self._planes(request, preparation)
        cuts = [
            preparation
            if codes == card.grid.axis_codes
            else preparation.cut(replace(card.grid, axis_codes=codes))
            for codes in cut_in.values()
        ]
        plans = [Plan.of(cut, request.slices, card.overlap) for cut in cuts]
        calls = Calls(sum(len(plan.computed) for plan in plans), progress, cancelled)
        found = self._in_plane(plans[0], request, calls)
        weight = _of_further_planes(preparation) if len(plans) > 1 else 1.0
        for number, plan in enumerate(plans[1:], 2):
            found.add(self._in_plane(plan, request, calls), number, weight)
        marks = [mark(image, source, card.id, wanted=pixel_mark) for image in found.images]
        record = self._provenance(preparation, request, calls.places or self._network.places)
        several = ", ".join(cut_in) if card.grid.planes == "all" else None
        record = replace(record, pixel_mark="; ".join(dict.fromkeys(marks)), planes=several)
        return Synthesis(found.volumes(), record, found.spreads())

    def _planes(self, request: Request, preparation: Preparation) -> dict[str, str]:
        """Name -> axis codes of the planes that a volume is cut in."""
        grid = self.card.grid
        if grid.planes != "all" or request.slices is not None:
            return {plane_across(grid.axis_codes[2]): grid.axis_codes}
        names = planes_for(preparation.volume, request.planes)
        return {name: PLANES[name] for name in names}

    def _in_plane(self, plan: Plan, request: Request, calls: Calls) -> Targets:
        """The targets by the slices of one plane. Thin ones are looked at in the other planes, too,
        where a third of a checkerboard would be seen: their weights are binomial.
        """
        card = self.card
        targets = card.target_contrasts, card.intensity.target_range
        found = Targets(plan.preparation, *targets, card.intervals or request.samples > 1)
        binomial = card.grid.planes == "all" and plan.preparation.slice_mm <= THIN_MM
        overlapping = OverlapMean(card.overlap, plan.computed, binomial)
        for chosen in plan.batches(request.batch):
            estimates = self._estimates(plan.preparation, chosen, request, calls)
            finished, draws = overlapping.add(chosen, estimates)
            asked = np.isin(finished, plan.wanted)
            found.write(finished[asked], draws[asked])
            calls.finished(len(chosen))
        return found

    def _check(self, request: Request, sources: Mapping[str, Volume]) -> None:
        """Raise RequestError for what this model cannot do."""
        card = self.card
        card.check_steps(request.steps)
        if request.planes == "all" and card.grid.planes != "all":
            raise RequestError(
                f"the model {card.id} has learned {plane_across(card.grid.axis_codes[2])} slices "
                "alone; leave out planes."
            )
        if not card.noisy and (request.steps, request.samples) != (1, 1):
            raise RequestError(
                f"the model {card.id} has no noise input, so it makes one step and one draw; leave "
                f"steps ({request.steps}) and samples ({request.samples}) at 1."
            )
        if set(sources) != set(card.source_contrasts):
            raise RequestError(
                f"the model {card.id} synthesizes {card.direction}, but was given "
                f"{', '.join(sources) or 'nothing'}; give all of its sources, or choose another "
                "model."
            )

    def warnings(self, sources: Mapping[str, Volume]) -> Iterator[tuple[str, str]]:
        """What the user should know about the sources (contrast -> Volume) before their synthesis
        is believed: the name of each volume, and a warning.
        """
        for contrast, source in sources.items():
            for warning in (*source.notes, *doubts(source, contrast)):
                yield source.name, warning

    def _estimates(
        self,
        preparation: Preparation,
        chosen: NDArray[np.intp],
        request: Request,
        calls: Calls,
    ) -> Stack:
        """(n,1+2o,D,T,H,W): of n chosen slices and the o on either side, D draws of T targets.

        Neighbors are those of the whole volume, whatever range or batch is being computed."""

        def network(images: Stack) -> Stack:
            calls.check()
            found = self._network(images)
            calls.places += tuple(p for p in self._network.places if p not in calls.places)
            return found

        sampling = self.card.sampling
        r = self.card.neighbors
        turns = Alternation(self.card.grid.planes == "all", preparation.sagittal)
        slices = turns.to_network(preparation.sources(chosen), chosen)
        around = turns.to_network(preparation.neighbors(chosen, r), chosen, r)
        noise: Iterable[Stack | None] = [None]
        if self.card.noisy:
            size = slices.shape[2:]
            noise = np.stack([slice_noise(request, int(n), size) for n in chosen], axis=2)
        draws = [self.method.synthesize(network, slices, n, sampling, around) for n in noise]
        found = np.moveaxis(np.stack(draws, axis=1), 3, 1)
        return turns.back(found, chosen)

    def _provenance(
        self, preparation: Preparation, request: Request, places: tuple[Place, ...]
    ) -> Provenance:
        card, source = self.card, preparation.volume
        volumes = [source, *(volume for volume, _ in preparation.others)]
        sources = dict(zip(card.source_contrasts, volumes, strict=True))
        knows_both = card.intensity.rule == "median"
        return Provenance(
            method=card.method,
            model_id=card.id,
            model_version=card.version,
            weights_sha256=card.weights_sha256,
            package_sha256=card.package_sha256,
            source_contrast=" + ".join(card.source_contrasts),
            target_contrast=" + ".join(card.target_contrasts),
            source_name=", ".join(volume.name for volume in volumes),
            source_sha256=", ".join(map(sha256_of, volumes)),
            taken_for=taken_for(source, ~preparation.empty) if knows_both else None,
            seed=request.seed,
            steps=request.steps,
            samples=request.samples,
            noise=request.noise,
            backend=self.backend,
            device=", ".join(place.device for place in places),
            precision=", ".join(place.precision for place in places),
            slices=request.slices,
            limits=f"Lesions that {' + '.join(card.source_contrasts)} does not show do not appear",
            warnings=(
                *(warning for _, warning in self.warnings(sources)),
                *fallback_warnings(places, self.device),
            ),
        )


def _of_further_planes(preparation: Preparation) -> Stack | float:
    """What coronal and sagittal slices count beside axial ones: as much; of a head near its brain
    alone.
    """
    source = preparation.volume
    near = near_brain(source) if has_skull(source, ~preparation.empty) else None
    return 1.0 if near is None else near


def contrast_card(package: ModelPackage) -> ContrastCard:
    """The package's card. Raises ModelError for a model that does not synthesize a contrast."""
    if not isinstance(package.card, ContrastCard):
        raise ModelError(
            f"the model {package.card.id} synthesizes {package.card.direction}, no contrast; use "
            f"it with 'mambasynth {package.card.task}', or choose another with 'mambasynth models "
            "list'."
        )
    return package.card


def slice_noise(request: Request, index: int, size: tuple[int, ...]) -> Stack:
    """(samples,steps,H,W) standard normal noise of one slice.

    Each slice has a generator of its own, spawned from the seed, so that neither the batch size
    nor the range of slices changes a result.
    """
    stream = 0 if request.noise == "shared" else index
    generator = np.random.default_rng(np.random.SeedSequence(request.seed, spawn_key=(stream,)))
    return generator.standard_normal((request.samples, request.steps, *size), dtype=np.float32)
