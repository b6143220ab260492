"""Convert the weights of a model, and if possible also its computation, to 8-bit integers,
following ONNX Runtime's guide for CPUs.

Also load the calibration rows of a model in batches."""

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
from app.inference.precision.source import count_integer_nodes, get_standard_opset
from app.inference.rows import Feeds
from app.inference.tensor_spec import TensorSpec, printable

_BATCH_SIZE = 16


def load_calibration_batches(path: Path, names: tuple[str, ...], inputs: tuple[TensorSpec, ...]) -> list[Feeds]:
    """Load calibration rows in batches. If the model has a fixed batch size, an incomplete last
    batch is dropped. Raises UsageError for rows that do not fit the inputs of the model."""
    with np.load(path, allow_pickle=False) as archive:
        rows = {name: archive[f"arr_{index}"] for index, name in enumerate(names)}
    missing_names = [spec.name for spec in inputs if spec.name not in rows]
    if missing_names:
        raise UsageError(
            f"there are no calibration rows for input {', '.join(missing_names)}, only for {', '.join(names)}",
            hint="Provide one array per model input.",
        )
    feeds = {
        spec.name: rows[spec.name].astype(object) if spec.dtype == "object" else rows[spec.name] for spec in inputs
    }
    for spec in inputs:
        if feeds[spec.name].dtype != np.dtype(spec.dtype):
            raise UsageError(
                f"input {spec.name} expects {spec.dtype}, but the calibration rows are {feeds[spec.name].dtype}",
                hint="Provide the calibration rows in the data type of the input.",
            )
    row_count = min(len(input_rows) for input_rows in feeds.values())
    fixed_batch = next((spec.shape[0] for spec in inputs if spec.shape and spec.shape[0] > 0), None)
    if fixed_batch is not None and row_count < fixed_batch:
        raise UsageError(
            f"the model has a fixed batch size of {fixed_batch}, but there are only {row_count} calibration rows",
            hint=f"Provide at least {fixed_batch} calibration rows.",
        )
    batch_size, end = (fixed_batch, row_count - row_count % fixed_batch) if fixed_batch else (_BATCH_SIZE, row_count)
    return [
        {name: input_rows[start : start + batch_size] for name, input_rows in feeds.items()}
        for start in range(0, end, batch_size)
    ]


_MIN_OPSET = 13
"""First ONNX opset that supports per-channel quantization scales."""

_MATRIX_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM"})
_SCORE_OPERATORS = frozenset({"Softmax", "Sigmoid"})
"""Operators whose output must not be quantized to int8 if it is a model output. At a resolution of
1/256, small probabilities would be rounded to 0, such as those of most classes of a classifier with
1,000 classes."""

_RESHAPE_OPERATORS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_CLIP_OPERATORS = frozenset({"Relu", "Clip"})
"""Operators that clip values. The quantization tool applies the range of the clipped output to the
input as well, even if the input is a model output."""

_REDUCED_RANGE_NOTE = (
    "int8 weights use the reduced range of 7 bits, because 8-bit products may overflow on this processor (x86 without "
    "VNNI)"
)
_CONVOLUTIONS_NOTE = "int8-dynamic convolutions are rarely faster than fp32 on a CPU; use int8-static for convolutions"


def convert_to_int8_dynamic(model: onnx.ModelProto, output_path: Path, has_7_bit_weights: bool) -> tuple[str, ...]:
    """Convert a model to int8 with dynamic quantization, write the converted model to
    `output_path`, and return notes for the user. Raises UsageError if no node could be
    converted."""
    prepared_path = _prepare_model(model, output_path.parent)
    has_convolutions = any(node.op_type == "Conv" for node in onnx.load_model(prepared_path).graph.node)
    # ConvInteger with int8 weights is slow or not supported; for matrix products, int8 weights are
    # the fast choice.
    weight_type = QuantType.QUInt8 if has_convolutions else QuantType.QInt8
    has_reduced_range = has_7_bit_weights and not has_convolutions
    quantize_dynamic(
        prepared_path, output_path, per_channel=True, reduce_range=has_reduced_range, weight_type=weight_type
    )
    converted_model = _load_converted_model(output_path, "int8-dynamic")
    convolution_notes = (_CONVOLUTIONS_NOTE,) if count_integer_nodes(converted_model)["ConvInteger"] else ()
    return (
        *convolution_notes,
        *((_REDUCED_RANGE_NOTE,) if has_reduced_range else ()),
        *_build_unconverted_notes(converted_model),
    )


def convert_to_int8_static(
    model: onnx.ModelProto, output_path: Path, has_7_bit_weights: bool, batches: Sequence[Feeds]
) -> tuple[str, ...]:
    """Convert a model to int8 with static quantization, write the converted model to `output_path`,
    and return notes for the user.

    The range of an activation is its minimum and maximum over the calibration batches. Weights are
    quantized per channel. Raises UsageError if no node could be converted."""
    prepared_path = _prepare_model(model, output_path.parent)
    quantize_static(
        prepared_path,
        output_path,
        _BatchReader(batches),
        nodes_to_exclude=_find_nodes_to_exclude(onnx.load_model(prepared_path).graph),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=has_7_bit_weights,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    converted_model = _load_converted_model(output_path, "int8-static")
    return (*((_REDUCED_RANGE_NOTE,) if has_7_bit_weights else ()), *_build_unconverted_notes(converted_model))


def _find_nodes_to_exclude(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes whose quantization would degrade a model output.

    A Softmax whose result is not a model output must not be excluded: between quantized tensors,
    ONNX Runtime runs it with fixed int8 steps, regardless of the scales of the tensors."""
    output_names, excluded_names = {value.name for value in graph.output}, []
    for node in reversed(graph.node):
        is_output = not output_names.isdisjoint(node.output)
        if is_output and node.op_type in _RESHAPE_OPERATORS:
            output_names.add(node.input[0])
        if (is_output and node.op_type in _RESHAPE_OPERATORS | _SCORE_OPERATORS) or (
            node.op_type in _CLIP_OPERATORS and not output_names.isdisjoint(node.input[:1])
        ):
            excluded_names.append(node.name)
    return excluded_names


class _BatchReader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Sequence[Feeds]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(batch)


def _prepare_model(model: onnx.ModelProto, folder: Path) -> Path:
    """Prepare a model for quantization: raise its opset, fold constants, infer shapes, and name all
    nodes."""
    source_path, prepared_path = folder / "source.onnx", folder / "prepared.onnx"
    onnx.save_model(_raise_opset(model), str(source_path))
    # Symbolic shape inference needs sympy, which is not worth a dependency; onnx infers the shapes
    # instead.
    quant_pre_process(source_path, prepared_path, skip_symbolic_shape=True)
    named_model = onnx.load_model(prepared_path)
    weight_names = {tensor.name for tensor in named_model.graph.initializer}
    intermediate_values = [value for value in named_model.graph.value_info if value.name not in weight_names]
    del named_model.graph.value_info[:]
    # Weights are excluded, because the tool may transpose them.
    named_model.graph.value_info.extend(intermediate_values)
    for index, node in enumerate(named_model.graph.node):
        # Otherwise, excluding one unnamed node would exclude all unnamed nodes.
        node.name = node.name or f"unnamed {index}"
    onnx.save_model(named_model, str(prepared_path))
    return prepared_path


def _raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert the model to the minimum opset before ONNX Runtime's tool would, because the tool
    fails to convert Upsample. Raises UsageError if the conversion fails."""
    opset = get_standard_opset(model)
    if opset >= _MIN_OPSET:
        return model
    try:
        return version_converter.convert_version(model, _MIN_OPSET)
    except (version_converter.ConvertError, RuntimeError) as error:
        message = printable(str(error).rsplit("failed: ", 1)[-1].strip())
        raise UsageError(
            f"int8 needs opset {_MIN_OPSET}, but the model cannot be converted to it from {opset}: {message}",
            hint=f"Export the model again with opset {_MIN_OPSET} or newer.",
        ) from error


def _load_converted_model(output_path: Path, precision: str) -> onnx.ModelProto:
    converted_model = onnx.load_model(output_path)
    if not count_integer_nodes(converted_model):
        raise UsageError(
            f"the model has no node that can be converted to {precision}", hint="Use precision as-is or fp16."
        )
    return converted_model


def _build_unconverted_notes(converted_model: onnx.ModelProto) -> tuple[str, ...]:
    """Return a note on the convolutions and matrix products that still run in the original
    precision; empty if there are none."""
    dequantized_names = {
        name for node in converted_model.graph.node if node.op_type == "DequantizeLinear" for name in node.output
    }
    matrix_nodes = [node for node in converted_model.graph.node if node.op_type in _MATRIX_OPERATORS]
    unconverted_count = sum(not dequantized_names.issuperset(node.input[:2]) for node in matrix_nodes)
    return (f"{unconverted_count} convolutions or matrix products are not converted",) if unconverted_count else ()
