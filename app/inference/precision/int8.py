"""Converts a model's weights, and its computation where possible, to 8-bit integers, by ONNX Runtime's guide for CPUs.

Also loads the rows that a model is calibrated with, batch by batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import version_converter
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.shape_inference import quant_pre_process

from app.errors import UsageError
from app.inference.precision.source import count_integer_nodes, standard_opset
from app.inference.rows import Feeds
from app.inference.tensor_spec import TensorSpec, printable

_BATCH = 16


def load_calibration_batches(path: Path, names: tuple[str, ...], inputs: tuple[TensorSpec, ...]) -> list[Feeds]:
    """Load calibration rows in batches for the model. Raises UsageError for rows that do not fit its inputs.

    If the model takes a fixed batch size, rows that do not fill the last batch are left out.
    """
    with np.load(path, allow_pickle=False) as archive:
        rows = {name: archive[f"arr_{index}"] for index, name in enumerate(names)}
    missing = [spec.name for spec in inputs if spec.name not in rows]
    if missing:
        raise UsageError(
            f"there are no rows for its input {', '.join(missing)}, only for {', '.join(names)}",
            hint="Provide one array per model input.",
        )
    feeds = {
        spec.name: rows[spec.name].astype(object) if spec.dtype == "object" else rows[spec.name] for spec in inputs
    }
    for spec in inputs:
        if feeds[spec.name].dtype != np.dtype(spec.dtype):
            raise UsageError(f"it needs {spec.dtype} as {spec.name}, but the rows are {feeds[spec.name].dtype}")
    count = min(len(rows_of_input) for rows_of_input in feeds.values())
    size = next((spec.shape[0] for spec in inputs if spec.shape and spec.shape[0] > 0), None)
    if size is not None and count < size:
        raise UsageError(f"it needs {size} rows at a time, but there are {count} calibration rows")
    step, end = (size, count - count % size) if size else (_BATCH, count)
    return [
        {name: rows_of_input[start : start + step] for name, rows_of_input in feeds.items()}
        for start in range(0, end, step)
    ]


_OPSET = 13
"""First opset in which quantized values may have a scale per channel."""

_MATRIX_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM"})
_SCORES = frozenset({"Softmax", "Sigmoid"})
"""Operators whose result is an unsuitable int8 output: in steps of 1/256, most shares of a thousand classes are 0, and
so is a small probability.
"""

_RESHAPING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_CLIPPING = frozenset({"Relu", "Clip"})
"""Operators that clip: the tool gives their input the range of their output, even if the input is a model output
itself.
"""

_REDUCED_RANGE_NOTE = (
    "its int8 weights use 7 bits, because products of 8 bits may overflow on this processor (x86 without VNNI)"
)
_CONVOLUTIONS_NOTE = "int8-dynamic convolutions are seldom faster than fp32 on cpu; use int8-static for them"


def convert_to_int8_dynamic(model: onnx.ModelProto, draft: Path, has_7_bit_weights: bool) -> tuple[str, ...]:
    """Convert a model to int8 with dynamic ranges and return notes. Raises UsageError if nothing could be converted."""
    prepared = _prepare(model, draft.parent)
    has_convolutions = any(node.op_type == "Conv" for node in onnx.load_model(prepared).graph.node)
    # uint8 by int8 is a slow ConvInteger, or not supported at all; for matrices it is the other way round.
    weights = QuantType.QUInt8 if has_convolutions else QuantType.QInt8
    is_reduced = has_7_bit_weights and not has_convolutions
    quantize_dynamic(prepared, draft, per_channel=True, reduce_range=is_reduced, weight_type=weights)
    converted = _load_checked(draft, "int8-dynamic")
    convolutions = (_CONVOLUTIONS_NOTE,) if count_integer_nodes(converted)["ConvInteger"] else ()
    return (*convolutions, *((_REDUCED_RANGE_NOTE,) if is_reduced else ()), *_unconverted_note(converted))


def convert_to_int8_static(
    model: onnx.ModelProto, draft: Path, has_7_bit_weights: bool, batches: Sequence[Feeds]
) -> tuple[str, ...]:
    """Convert a model to int8 with static ranges and return notes.

    Activations use the minimum and maximum of each tensor over these batches; weights are quantized per channel.
    """
    prepared = _prepare(model, draft.parent)
    quantize_static(
        prepared,
        draft,
        _BatchReader(batches),
        nodes_to_exclude=_nodes_to_exclude(onnx.load_model(prepared).graph),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=has_7_bit_weights,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    converted = _load_checked(draft, "int8-static")
    return (*((_REDUCED_RANGE_NOTE,) if has_7_bit_weights else ()), *_unconverted_note(converted))


def _nodes_to_exclude(graph: onnx.GraphProto) -> list[str]:
    """Return the nodes to exclude because quantizing them would degrade an output.

    A Softmax within the model must not be excluded: between quantized tensors ONNX Runtime runs it in int8 steps of its
    own, whatever steps the tensors have.
    """
    outputs, excluded = {value.name for value in graph.output}, []
    for node in reversed(graph.node):
        is_output = not outputs.isdisjoint(node.output)
        if is_output and node.op_type in _RESHAPING:
            outputs.add(node.input[0])
        if (is_output and node.op_type in _RESHAPING | _SCORES) or (
            node.op_type in _CLIPPING and not outputs.isdisjoint(node.input[:1])
        ):
            excluded.append(node.name)
    return excluded


class _BatchReader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Sequence[Feeds]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(batch)


def _prepare(model: onnx.ModelProto, folder: Path) -> Path:
    """Prepare the model: raise its opset, fold constants, infer shapes, and name every node."""
    source, prepared = folder / "source.onnx", folder / "prepared.onnx"
    onnx.save_model(_raise_opset(model), str(source))
    # Symbolic shapes need sympy, which is not worth a dependency: onnx's own inference follows.
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    named = onnx.load_model(prepared)
    stored = {tensor.name for tensor in named.graph.initializer}
    inferred = [value for value in named.graph.value_info if value.name not in stored]
    del named.graph.value_info[:]
    named.graph.value_info.extend(inferred)  # Except for weights, which the tool may transpose.
    for index, node in enumerate(named.graph.node):
        node.name = node.name or f"unnamed {index}"  # Otherwise excluding one unnamed node would exclude all of them.
    onnx.save_model(named, str(prepared))
    return prepared


def _raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Raise the opset before ONNX Runtime's tool does, whose own conversion fails on an Upsample."""
    opset = standard_opset(model)
    if opset >= _OPSET:
        return model
    try:
        return version_converter.convert_version(model, _OPSET)
    except (version_converter.ConvertError, RuntimeError) as error:
        message = printable(str(error).rsplit("failed: ", 1)[-1].strip())
        raise UsageError(
            f"int8 needs opset {_OPSET}, but the model cannot be converted to it from {opset}: {message}",
            hint=f"Export the model again with opset {_OPSET} or newer.",
        ) from error


def _load_checked(draft: Path, precision: str) -> onnx.ModelProto:
    converted = onnx.load_model(draft)
    if not count_integer_nodes(converted):
        raise UsageError(
            f"no node of it can be converted to {precision}", hint="Measure it with precision as-is, or in fp16."
        )
    return converted


def _unconverted_note(converted: onnx.ModelProto) -> tuple[str, ...]:
    """Return a note on the matrix products that are still computed in the original precision."""
    dequantized = {name for node in converted.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    matrices = [node for node in converted.graph.node if node.op_type in _MATRIX_OPERATORS]
    unconverted = sum(not dequantized.issuperset(node.input[:2]) for node in matrices)
    return (f"{unconverted} of its convolutions and matrix products are not converted",) if unconverted else ()
