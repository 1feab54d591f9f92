"""Writing an ONNX graph like a calculation: values that can be added, multiplied and handed on.

    g = Graph("example")
    x = g.input("x", ["batch", 3])
    y = g.op("Relu", x * g.weight("scale", 3) + 1.0, result="y")
    model = g.model(y)

Weights are declared with a name and a shape only. Their values stay in the one weights file and are
handed to the runtime when it loads the graph, so the graph is a few kilobytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20  # the first with Gelu
IR_VERSION = 9  # what opset 20 came with; ONNX Runtime 1.17 and later read it
END = np.iinfo(np.int64).max  # of a slice that goes to the end


@dataclass(frozen=True)
class Value:
    """The result of a node, by name."""

    graph: Graph
    name: str

    def __add__(self, other: Value | float) -> Value:
        return self.graph.op("Add", self, other)

    def __mul__(self, other: Value | float) -> Value:
        return self.graph.op("Mul", self, other)

    def __matmul__(self, other: Value) -> Value:
        return self.graph.op("MatMul", self, other)

    def transpose(self, *axes: int) -> Value:
        return self.graph.op("Transpose", self, perm=axes)

    def reshape(self, *shape: int | Value) -> Value:
        """Sizes are numbers (-1: what is left) or one-element values such as ``x.size(1)``."""
        if all(isinstance(size, int) for size in shape):
            return self.graph.op("Reshape", self, self.graph.constant(np.array(shape, np.int64)))
        sizes = [self.graph.integers(size) if isinstance(size, int) else size for size in shape]
        return self.graph.op("Reshape", self, self.graph.concat(sizes, axis=0))

    def size(self, axis: int) -> Value:
        """(1,) the length of one axis, known when the graph runs."""
        return self.graph.op("Shape", self, start=axis, end=axis + 1)

    def slice(self, axis: int, start: int, stop: int | Value = END, step: int = 1) -> Value:
        """Like ``start:stop:step`` on one axis."""
        g = self.graph
        stop = g.integers(stop) if isinstance(stop, int) else stop
        return g.op("Slice", self, g.integers(start), stop, g.integers(axis), g.integers(step))

    def split(self, *sizes: int) -> list[Value]:
        """Parts of the last axis."""
        return self.graph.nodes("Split", self, self.graph.integers(*sizes), outputs=len(sizes),
                                axis=-1)  # fmt: skip


class Graph:
    """A growing graph: every method adds nodes and returns their result.

    ``weights`` collects the name and the shape of each declared weight.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.weights: dict[str, tuple[int, ...]] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def input(self, name: str, shape: Sequence[int | str] | None = None) -> Value:
        """A float32 input; a text stands for a size that is known when the graph runs."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return Value(self, name)

    def weight(self, name: str, *shape: int) -> Value:
        """A float32 tensor whose value is handed in later."""
        self.weights[name] = shape
        return Value(self, name)

    def constant(self, array: ArrayLike) -> Value:
        """A small array inside the graph; floats become float32."""
        values: NDArray[np.generic] = np.asarray(array)
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        name = f"{self.name}.constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return Value(self, name)

    def integers(self, *values: int) -> Value:
        return self.constant(np.array(values, np.int64))

    def op(self, kind: str, *inputs: Value | float, result: str = "", **attributes: Any) -> Value:
        """One node with one result, which can be given a name."""
        return self._node(kind, inputs, [result or self._new_name(kind)], attributes)[0]

    def nodes(
        self, kind: str, *inputs: Value | float, outputs: int, **attributes: Any
    ) -> list[Value]:
        """One node with several results."""
        name = self._new_name(kind)
        return self._node(kind, inputs, [f"{name}.{n}" for n in range(outputs)], attributes)

    def _new_name(self, kind: str) -> str:
        return f"{self.name}.{kind}{len(self._nodes)}"

    def _node(
        self,
        kind: str,
        inputs: Sequence[Value | float],
        results: list[str],
        attributes: dict[str, Any],
    ) -> list[Value]:
        values = [x if isinstance(x, Value) else self.constant(float(x)) for x in inputs]
        names = [value.name for value in values]
        self._nodes.append(helper.make_node(kind, names, results, name=results[0], **attributes))
        return [Value(self, name) for name in results]

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        return self.op("Concat", *values, axis=axis)

    def proto(self, *outputs: Value) -> onnx.GraphProto:
        """The graph with the results that it hands out."""
        results = [helper.make_tensor_value_info(x.name, TensorProto.FLOAT, None) for x in outputs]
        initializers = self._constants + [_external(*weight) for weight in self.weights.items()]
        return helper.make_graph(self._nodes, self.name, self._inputs, results, initializers)

    def model(self, *outputs: Value) -> onnx.ModelProto:
        """The complete model file, without the values of the weights."""
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(self.proto(*outputs), opset_imports=opset, ir_version=IR_VERSION)


def _external(name: str, shape: tuple[int, ...]) -> onnx.TensorProto:
    """A tensor that says: my values are elsewhere."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.safetensors")
    return tensor
