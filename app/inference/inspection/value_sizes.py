"""The shape of every value in a graph at given input shapes, by onnx's own shape inference."""

from __future__ import annotations

import math

import onnx
from onnx import shape_inference

from app.errors import UsageError
from app.inference.inspection.tensors import size_bytes
from app.inference.printable import printable

_KEPT_ELEMENTS = 1024
"""Larger stored tensors are weights: no shape depends on them."""


class ShapesDisagreeError(UsageError):
    """Some operator cannot take what it is given."""


class ValueSizes:
    """Shapes and sizes by the name of a value of the main graph; None for what could not be inferred."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], dtypes: dict[str, int]) -> None:
        self._shapes = shapes
        self._dtypes = dtypes

    def shape(self, name: str) -> tuple[int, ...] | None:
        return self._shapes.get(name)

    def dtype(self, name: str) -> int | None:
        return self._dtypes.get(name)

    def elements(self, name: str) -> int | None:
        shape = self.shape(name)
        return None if shape is None else math.prod(shape)

    def bytes(self, name: str) -> int | None:
        """Raises UsageError where a value is larger than anything can hold."""
        shape, dtype = self.shape(name), self.dtype(name)
        return None if shape is None or dtype is None else size_bytes(dtype, shape)


def drop_weights(model: onnx.ModelProto) -> None:
    """Leave of large stored tensors their types and shapes: what follows copies the model several times."""
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) > _KEPT_ELEMENTS:  # asking for its size in bytes would copy it
            kept = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
            tensor.CopyFrom(kept)
    # what a file says of its own inner shapes is not believed
    del model.graph.value_info[:]
    for output in model.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")


def infer_sizes(model: onnx.ModelProto, inputs: dict[str, tuple[int, ...]], *, is_strict: bool = True) -> ValueSizes:
    """With the inputs of these shapes, which `model` keeps.

    Raises ShapesDisagreeError; where it is not strict, what disagrees is unknown instead.
    """
    for value in model.graph.input:
        if value.name in inputs and value.type.HasField("tensor_type"):
            shape = value.type.tensor_type.shape
            shape.ClearField("dim")
            shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=length) for length in inputs[value.name])
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=is_strict, data_prop=True).graph
    except MemoryError:
        raise
    except Exception as error:  # onnx raises its own and the standard library's alike
        first_line = printable((str(error).strip() or type(error).__name__).splitlines()[0])
        raise ShapesDisagreeError(f"the shapes in the model do not go together: {first_line}") from error
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, int] = {}
    for value in (*inferred.value_info, *inferred.output, *inferred.input):
        if not value.type.HasField("tensor_type"):
            continue
        tensor = value.type.tensor_type
        dtypes[value.name] = tensor.elem_type
        if tensor.HasField("shape") and all(
            axis.HasField("dim_value") and axis.dim_value >= 0 for axis in tensor.shape.dim
        ):
            shapes[value.name] = tuple(axis.dim_value for axis in tensor.shape.dim)
    for stored in inferred.initializer:
        shapes[stored.name], dtypes[stored.name] = tuple(stored.dims), stored.data_type
    return ValueSizes(shapes, dtypes)
