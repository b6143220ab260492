"""A model with its weights, and its computing where it can be, in 8-bit integers, by ONNX Runtime's guide for CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import version_converter
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from app.errors import UsageError
from app.inference.precision.source import integer_nodes, opset_of
from app.inference.printable import printable
from app.inference.rows import Feeds

_OPSET = 13
"""The first whose quantised numbers may have a scale a channel."""

_MATRIX_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM"})
_SHARES = frozenset({"Softmax"})
"""In int8's steps of 1/256 most of a thousand classes' shares are 0, and so is a small score that a Sigmoid gives."""

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
        op_types_to_quantize=sorted((QLinearOpsRegistry.keys() | QDQRegistry.keys()) - _SHARES),
        nodes_to_exclude=_scores(onnx.load_model(prepared).graph),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=spares_a_bit,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    made = _checked(draft, "int8-static")
    return (*((_SPARED,) if spares_a_bit else ()), *_left(made))


def _scores(graph: onnx.GraphProto) -> list[str]:
    given = {value.name for value in graph.output}
    return [node.name for node in graph.node if node.op_type == "Sigmoid" and not given.isdisjoint(node.output)]


class _Rows(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Sequence[Feeds]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(batch)


def _prepared(model: onnx.ModelProto, folder: Path) -> Path:
    """Constants folded, shapes inferred, every node named, and of an opset that has what is needed."""
    source, prepared = folder / "source.onnx", folder / "prepared.onnx"
    onnx.save_model(model, str(source))
    # symbolic shapes need sympy, which is not worth a dependency: ONNX's own inference follows
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    named = _raised(onnx.load_model(prepared))
    for number, node in enumerate(named.graph.node):
        node.name = node.name or f"unnamed {number}"  # or all of no name were left out with one of them
    onnx.save_model(named, str(prepared))
    return prepared


def _raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """At the opset needed at the least, and marked as prepared as before: the converter drops the mark."""
    opset = opset_of(model)
    if opset >= _OPSET:
        return model
    try:
        raised = version_converter.convert_version(model, _OPSET)
    except Exception as error:  # the converter's own, which share no base class
        raise UsageError(
            f"int8 needs opset {_OPSET}, and it cannot be brought there from {opset}: {printable(str(error))}",
            hint=f"Export the model again with opset {_OPSET} or newer.",
        ) from error
    onnx.helper.set_model_props(raised, {prop.key: prop.value for prop in model.metadata_props})
    return raised


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
