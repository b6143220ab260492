"""A model with its weights, and its computing where it can be, in 8-bit integers, by ONNX Runtime's guide for CPUs.

The rows that a model is calibrated with, batch by batch.
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
from app.inference.precision.source import integer_nodes, opset_of
from app.inference.rows import Feeds
from app.inference.tensor_spec import TensorSpec, printable

_BATCH = 16


def load_batches(path: Path, names: tuple[str, ...], inputs: tuple[TensorSpec, ...]) -> list[Feeds]:
    """As the model takes them; raises UsageError for rows that are not its inputs. Rows too few for a last batch of a
    model that takes no other are left out."""
    with np.load(path, allow_pickle=False) as archive:
        rows = {name: archive[f"arr_{number}"] for number, name in enumerate(names)}
    absent = [spec.name for spec in inputs if spec.name not in rows]
    if absent:
        raise UsageError(
            f"there are no rows for its input {', '.join(absent)}; there are for {', '.join(names)}",
            hint="Rows are one array for each input of the model.",
        )
    feeds = {
        spec.name: rows[spec.name].astype(object) if spec.dtype == "object" else rows[spec.name] for spec in inputs
    }
    for spec in inputs:
        if feeds[spec.name].dtype != np.dtype(spec.dtype):
            raise UsageError(f"it takes {spec.dtype} as {spec.name}, and the rows are {feeds[spec.name].dtype}")
    count = min(len(each) for each in feeds.values())
    size = next((spec.shape[0] for spec in inputs if spec.shape and spec.shape[0] > 0), None)
    if size is not None and count < size:
        raise UsageError(f"it takes {size} rows at a time, and there are {count} to calibrate it with")
    step, end = (size, count - count % size) if size else (_BATCH, count)
    return [{name: each[start : start + step] for name, each in feeds.items()} for start in range(0, end, step)]


_OPSET = 13
"""The first whose quantised numbers may have a scale a channel."""

_MATRIX_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM"})
_SCORES = frozenset({"Softmax", "Sigmoid"})
"""As an answer: in int8's steps of 1/256 most of a thousand classes' shares are 0, and so is a small probability."""

_ARRANGING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_CUTS = frozenset({"Relu", "Clip"})
"""The tool gives what they read the range of what they leave of it, even where it is an answer itself."""

_SPARED = "its int8 weights have 7 bits, since the products of 8 may overflow on this processor (x86 without VNNI)"
_CONVOLUTIONS = "int8-dynamic convolutions are seldom faster than fp32 on cpu; int8-static is made for them"


def make_int8_dynamic(model: onnx.ModelProto, draft: Path, spares_a_bit: bool) -> tuple[str, ...]:
    """Notes on what was made. Raises UsageError where nothing became int8."""
    prepared = _prepared(model, draft.parent)
    has_convolutions = any(node.op_type == "Conv" for node in onnx.load_model(prepared).graph.node)
    # uint8 by int8 is a slow ConvInteger where it is one at all; matrices are the other way about
    weights = QuantType.QUInt8 if has_convolutions else QuantType.QInt8
    is_spared = spares_a_bit and not has_convolutions
    quantize_dynamic(prepared, draft, per_channel=True, reduce_range=is_spared, weight_type=weights)
    made = _checked(draft, "int8-dynamic")
    convolutions = (_CONVOLUTIONS,) if integer_nodes(made)["ConvInteger"] else ()
    return (*convolutions, *((_SPARED,) if is_spared else ()), *_left(made))


def make_int8_static(
    model: onnx.ModelProto, draft: Path, spares_a_bit: bool, batches: Sequence[Feeds]
) -> tuple[str, ...]:
    """Activations by the least and the largest that each tensor had in these batches; weights a channel."""
    prepared = _prepared(model, draft.parent)
    quantize_static(
        prepared,
        draft,
        _Rows(batches),
        nodes_to_exclude=_spared(onnx.load_model(prepared).graph),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=spares_a_bit,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    made = _checked(draft, "int8-static")
    return (*((_SPARED,) if spares_a_bit else ()), *_left(made))


def _spared(graph: onnx.GraphProto) -> list[str]:
    """The nodes that would spoil an answer. Within the model a Softmax must not be one of them: between quantised
    tensors ONNX Runtime runs it by int8's own steps, whatever steps the tensors have."""
    answers, spared = {value.name for value in graph.output}, []
    for node in reversed(graph.node):
        is_answer = not answers.isdisjoint(node.output)
        if is_answer and node.op_type in _ARRANGING:
            answers.add(node.input[0])
        if (is_answer and node.op_type in _ARRANGING | _SCORES) or (
            node.op_type in _CUTS and not answers.isdisjoint(node.input[:1])
        ):
            spared.append(node.name)
    return spared


class _Rows(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Sequence[Feeds]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(batch)


def _prepared(model: onnx.ModelProto, folder: Path) -> Path:
    """Of an opset that has what is needed, constants folded, shapes inferred, and every node named."""
    source, prepared = folder / "source.onnx", folder / "prepared.onnx"
    onnx.save_model(_raised(model), str(source))
    # symbolic shapes need sympy, which is not worth a dependency: ONNX's own inference follows
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    named = onnx.load_model(prepared)
    stored = {tensor.name for tensor in named.graph.initializer}
    inferred = [value for value in named.graph.value_info if value.name not in stored]
    del named.graph.value_info[:]
    named.graph.value_info.extend(inferred)  # but for weights, which the tool may transpose
    for number, node in enumerate(named.graph.node):
        node.name = node.name or f"unnamed {number}"  # or all of no name were left out with one of them
    onnx.save_model(named, str(prepared))
    return prepared


def _raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Before ONNX Runtime's tool raises it by its own way, which fails on an Upsample."""
    opset = opset_of(model)
    if opset >= _OPSET:
        return model
    try:
        return version_converter.convert_version(model, _OPSET)
    except (version_converter.ConvertError, RuntimeError) as error:
        said = printable(str(error).rsplit("failed: ", 1)[-1].strip())
        raise UsageError(
            f"int8 needs opset {_OPSET}, and it cannot be brought there from {opset}: {said}",
            hint=f"Export the model again with opset {_OPSET} or newer.",
        ) from error


def _checked(draft: Path, precision: str) -> onnx.ModelProto:
    made = onnx.load_model(draft)
    if not integer_nodes(made):
        raise UsageError(f"nothing in it can be made {precision}", hint="Measure it as it is, or in fp16.")
    return made


def _left(made: onnx.ModelProto) -> tuple[str, ...]:
    """A note on the products of matrices that are computed as before."""
    dequantised = {name for node in made.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    matrices = [node for node in made.graph.node if node.op_type in _MATRIX_OPERATORS]
    left = sum(not dequantised.issuperset(node.input[:2]) for node in matrices)
    return (f"{left} of its convolutions and products of matrices stay as they were",) if left else ()
