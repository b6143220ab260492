"""Converts a model's weights and computation to fp16, and keeps its inputs and outputs as they are."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto
from onnxruntime.transformers.float16 import convert_float_to_float16

from app.errors import UsageError

_ON_CPU = "fp16 on cpu casts to fp32 and back wherever there is no fp16 kernel"


def convert_to_fp16(model: onnx.ModelProto, draft: Path) -> tuple[str, ...]:
    """Convert a model to fp16 and return notes on the result. Raises UsageError if nothing could be converted."""
    before = _nodes_in_fp16(onnx.shape_inference.infer_shapes(model))
    converted = convert_float_to_float16(model, keep_io_types=True)
    after = _nodes_in_fp16(onnx.shape_inference.infer_shapes(converted))
    if after <= before:
        already = f", because it is already fp16 ({before} nodes)" if before else ""
        raise UsageError(f"no node of it can be converted to fp16{already}", hint="Measure it with precision as-is.")
    onnx.save_model(converted, str(draft))
    return (_ON_CPU,)


def _nodes_in_fp16(model: onnx.ModelProto) -> int:
    """Return the number of nodes that compute in fp16; casts around a node that does not are no gain."""
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    halves = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    halves.update(tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16)
    return sum(node.op_type != "Cast" and not halves.isdisjoint([*node.input, *node.output]) for node in graph.node)
