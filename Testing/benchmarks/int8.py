"""Is an int8 network worth it? The shipped model in ONNX Runtime on the CPU, quantized two ways.

    python -m Testing.benchmarks.int8 [--rounds 15] [--slices 12]

Dynamic: matrix products in int8, ranges found while computing. Static: convolutions and matrix
products in int8, ranges from calibration slices. Kept only if faster than what is used today and
worse by less than 0.002 SSIM against the T2w slices of the demo's computed head, with no pixel
changed by a twentieth of the range. Needs onnxruntime and onnx.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from MambaSynthLib.backends import onnx_backend
from MambaSynthLib.backends.onnx_backend import declared_weights
from MambaSynthLib.image.metrics import slice_scores
from MambaSynthLib.image.preparation import prepare
from MambaSynthLib.methods.cravim import graph
from MambaSynthLib.model.package import ModelPackage, read_package, shipped_models
from MambaSynthLib.phantom.template import template_head
from Testing.benchmarks.race import Row, arguments, race, report

MODEL = "cravim-t1w-t2w-compact"
MOST_LOST = 0.002  # SSIM
MOST_CHANGED = 0.1  # of any pixel, whose range is 2
FASTER = 0.9  # of today's time; less gain is within the noise
Images = np.ndarray
Call = Callable[[Images], Images]


def self_contained(package: ModelPackage) -> onnx.ModelProto:
    """The graph with its weights inside, as the quantizer wants it."""
    model = graph.build(package.card.network)
    weights = package.read_weights()
    for tensor in model.graph.initializer:
        if tensor.name in declared_weights(model):
            values = weights[tensor.name].astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


class Calibration(CalibrationDataReader):
    """One slice at a time."""

    def __init__(self, images: Images) -> None:
        self.batches = iter([{"images": image[None]} for image in images])

    def get_next(self) -> dict[str, Images] | None:
        return next(self.batches, None)


def session(path: Path) -> Call:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    opened = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: np.concatenate(
        [opened.run(None, {"images": image[None]})[0] for image in images]
    )


def one_by_one(call: Call) -> Call:
    """A thread's work: given more slices, the engine's network would take more threads."""
    return lambda images: np.concatenate([call(image[None]) for image in images])


def quantized(package: ModelPackage, calibration: Images, folder: Path) -> dict[str, Call]:
    """Name -> network."""
    plain, ready = folder / "plain.onnx", folder / "ready.onnx"
    onnx.save(self_contained(package), plain)
    quant_pre_process(plain, ready, skip_symbolic_shape=True)
    quantize_dynamic(ready, folder / "dynamic.onnx", op_types_to_quantize=["MatMul"],
                     weight_type=QuantType.QInt8)  # fmt: skip
    quantize_static(
        ready, folder / "static.onnx", Calibration(calibration), quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"], per_channel=True, activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )  # fmt: skip
    return {
        "onnxruntime float32": session(ready),
        "int8 dynamic, matrix products": session(folder / "dynamic.onnx"),
        "int8 static, convolutions": session(folder / "static.onnx"),
    }


def stacks(package: ModelPackage) -> tuple[Images, Images]:
    """(N,H,W) the demo's computed head and its T2w target on the model's grid, in [-1,1]."""
    card, head = package.card, template_head()
    preparation = prepare(head["T1w"], card.grid, card.intensity)
    return preparation.stack(), preparation.stack_of(head["T2w"])


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=12)
    parser.set_defaults(rounds=15)
    options = parser.parse_args()
    package = read_package(shipped_models() / MODEL)
    source, target = stacks(package)
    noise = np.random.default_rng(0).standard_normal(source.shape, dtype=np.float32)
    images = np.stack([source, noise], axis=1)
    chosen = np.linspace(0.3, 0.7, options.slices) * len(source)
    tested, calibration = chosen.astype(int), (chosen + 4).astype(int)
    with tempfile.TemporaryDirectory() as folder:
        calls = {"as used today": one_by_one(onnx_backend.load_network(package, "cpu"))}
        calls |= quantized(package, images[calibration], Path(folder))
        runs = {name: partial(call, images[tested]) for name, call in calls.items()}
        seconds = race(runs, options.rounds, options.threads)
        results = {name: call(images[tested])[:, -1] for name, call in calls.items()}
    exact = results["as used today"]
    scores = {name: _ssim(found, target[tested]) for name, found in results.items()}
    rows: list[Row] = []
    for name, found in results.items():
        ratio = seconds[name] / seconds["as used today"]
        lost = scores["as used today"] - scores[name]
        changed = float(abs(found - exact).max())
        good = ratio < FASTER and lost < MOST_LOST and changed < MOST_CHANGED
        rows.append({
            "network": name, "time": ratio, "largest difference": changed,
            "SSIM": f"{scores[name]:.4f}", "SSIM lost": f"{lost:+.4f}",
            "kept": "yes" if good and "int8" in name else "no",
        })  # fmt: skip
    report("int8", rows, options.out, "time")


def _ssim(found: Images, target: Images) -> float:
    pairs = zip(found, target, strict=True)
    scores = [slice_scores(f, t) for f, t in pairs]
    return float(np.mean([score.ssim for score in scores if score is not None]))


if __name__ == "__main__":
    main()
