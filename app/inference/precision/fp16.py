"""Convert weights and computation of a model to fp16, without changing the types of its inputs and
outputs."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto
from onnxruntime.transformers.float16 import convert_float_to_float16

from app.errors import UsageError

_CPU_NOTE = "on the cpu provider, operators without an fp16 kernel run in fp32, with casts before and after"


def convert_to_fp16(model: onnx.ModelProto, output_path: Path) -> tuple[str, ...]:
    """Convert a model to fp16, write the converted model to `output_path`, and return notes for the
    user. Raises UsageError if no node could be converted."""
    fp16_nodes_before = _count_fp16_nodes(onnx.shape_inference.infer_shapes(model))
    converted_model = convert_float_to_float16(model, keep_io_types=True)
    fp16_nodes_after = _count_fp16_nodes(onnx.shape_inference.infer_shapes(converted_model))
    if fp16_nodes_after <= fp16_nodes_before:
        reason = f", because it already uses fp16 ({fp16_nodes_before} nodes)" if fp16_nodes_before else ""
        raise UsageError(f"the model has no node that can be converted to fp16{reason}", hint="Use precision as-is.")
    onnx.save_model(converted_model, str(output_path))
    return (_CPU_NOTE,)


def _count_fp16_nodes(model: onnx.ModelProto) -> int:
    """Return the number of nodes with fp16 inputs or outputs, excluding casts."""
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    fp16_values = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    fp16_values.update(tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16)
    return sum(
        node.op_type != "Cast" and not fp16_values.isdisjoint([*node.input, *node.output]) for node in graph.node
    )
