"""``serve`` with an engine that needs no weights: T2w = maximum - T1w, one slice after another.

The model's id says how it behaves, so that tests can ask for every kind of trouble:
``inverter`` (fast), ``slow``, ``stubborn`` (ignores cancel), ``noisy`` (prints to stdout),
``refuses`` (a user's error), ``broken`` (a bug), ``dies`` and ``dies-silently`` (the process ends),
``crashes`` (inside a library), ``loads-slowly``.

Cine models: ``blender`` (frames between ED and ES are blends of both), and ``slow-blender``,
``dying-blender``.
"""

import ctypes
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from MambaSynthLib.cine import upsampling  # noqa: E402
from MambaSynthLib.cine.timing import Timing  # noqa: E402
from MambaSynthLib.engine import Synthesis  # noqa: E402
from MambaSynthLib.errors import Cancelled, RequestError  # noqa: E402
from MambaSynthLib.gate import admission  # noqa: E402
from MambaSynthLib.gate.rules import Finding  # noqa: E402
from MambaSynthLib.gate.verdict import Verdict  # noqa: E402
from MambaSynthLib.server.serve import serve  # noqa: E402
from Testing.provenance_records import CINE_RECORD, RECORD  # noqa: E402

WEIGHTS = "5" * 64
KNEE = Finding("anatomy", "looks like a knee", "give a head", sure=True)
KNEE_VALUE = 12345.0  # of the first voxel, where no name can tell
admission.examine = lambda volume, contrast: Verdict(  # its sources are toys
    volume.name,
    (KNEE,) if volume.name.startswith("Knee") or volume.array[0, 0, 0] == KNEE_VALUE else (),
)
upsampling.mark_frame = lambda frame, model, wanted: frame  # frames are compared with blends
SECONDS_PER_SLICE = {"slow": 0.05, "stubborn": 0.05}
SECONDS_PER_FRAME = {"slow-blender": 0.05}


class FakeEngine:
    package = SimpleNamespace(sha256=ANY)  # whichever is meant

    def __init__(self, model: str, device: str):
        self.model, self.device = Path(model).name, device
        if self.model == "loads-slowly":
            time.sleep(1.5)

    def synthesize(
        self,
        sources,
        *,
        steps,
        samples,
        seed,
        noise,
        slices,
        planes,
        pixel_mark,
        progress,
        cancelled,
    ):  # -> Synthesis
        samples = samples or 1
        self.misbehave()
        (source,) = sources.values()
        count = source.shape[2]
        array = source.array.max() - source.array
        for k in range(count):
            time.sleep(SECONDS_PER_SLICE.get(self.model, 0.05 * ("--slowly" in sys.argv)))
            if cancelled() and self.model != "stubborn":
                raise Cancelled
            progress(k + 1, count)
        if slices is not None:
            kept = np.zeros_like(array)
            kept[..., slice(*slices)] = array[..., slice(*slices)]
            array = kept
        return Synthesis(
            {"T2w": source.with_array(array, "T2w")},
            self.provenance(source, steps, samples, seed, slices, planes),
            {"T2w": source.with_array(np.full_like(array, 0.5))} if samples > 1 else {},
        )

    def misbehave(self):
        if self.model == "noisy":
            print("this is not an event")
            os.write(1, b"nor is this\n")  # as a C library does
            os.write(2, b"gr\xfc\xdfe\n")  # in the code page of an old Windows
        if self.model == "refuses":
            raise RequestError("Head.nii: is constant, so there is nothing to synthesize.")
        if self.model == "broken":
            raise ZeroDivisionError("a bug")
        if self.model == "dies":
            print("out of cheese", file=sys.stderr, flush=True)
        if self.model.startswith("dies"):
            os._exit(7)
        if self.model == "crashes":
            ctypes.string_at(0)

    def provenance(self, source, steps, samples, seed, slices, planes):
        return replace(
            RECORD,
            method="inversion",
            model_id=self.model,
            model_version="1.0.0",
            weights_sha256=WEIGHTS,
            source_name=source.name,
            seed=seed,
            steps=steps or 4,
            samples=samples,
            backend="numpy",
            device=self.device,
            slices=slices,
            planes="axial" if planes == "one" else None,
            limits="Lesions that T1w does not show do not appear",
            taken_for="a whole head, 250 cm2",
            warnings=source.notes,
        )


@dataclass(frozen=True)
class FakeMotion:
    ed: np.ndarray
    es: np.ndarray
    seconds: float

    def frame(self, share, tau):
        time.sleep(self.seconds)
        return (1 - share) * self.ed + share * self.es


class FakeCineEngine:
    package = FakeEngine.package

    def __init__(self, model: str, device: str):
        self.model, self.device = Path(model).name, device
        self.card = SimpleNamespace(id=self.model)

    def find_motion(self, ed, es, options, **_):
        if self.model == "dying-blender":
            os._exit(7)
        return FakeMotion(ed.array, es.array, SECONDS_PER_FRAME.get(self.model, 0))

    def timing(self, options, motion):
        return Timing("linear")

    def provenance(self, ed, es, seed=0, *, options, motion):
        return replace(
            CINE_RECORD,
            method="blend",
            model_id=self.model,
            weights_sha256=WEIGHTS,
            source_name=ed.name,
            seed=seed,
            backend="numpy",
            device=self.device,
            warnings=(*ed.notes, *es.notes),
        )


def fake_devices():
    return [
        {"id": "cuda:0", "title": "Fake GPU, 7.5 of 8.0 GB free"},
        {"id": "cpu", "title": "CPU, 8 threads"},
    ]


if __name__ == "__main__":
    if "--in-memory" in sys.argv:
        serve(None, FakeEngine, fake_devices, FakeCineEngine, in_memory=True)
    private = Path(sys.argv[sys.argv.index("--folder") + 1])
    serve(private, FakeEngine, fake_devices, FakeCineEngine)
