"""The multiply-adds of one node: those of the operators that make up nearly all the work of a network.

Elementwise arithmetic, pooling, normalisation and reduction count as none: together a few per cent in usual networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx

from app.inference.inspection.reading import STANDARD_DOMAINS

ShapeOf = Callable[[str], tuple[int, ...] | None]


def multiply_adds(node: onnx.NodeProto, shape_of: ShapeOf) -> int | None:
    """0 for operators without; None for those whose shapes are not known, and whose work no rule here tells."""
    if node.domain not in STANDARD_DOMAINS or node.op_type in _NO_RULE or not onnx.defs.has(node.op_type):
        return None
    rule = _RULES.get(node.op_type)
    if rule is None:
        return 0
    try:
        return rule(node, [shape_of(name) if name else None for name in (*node.input, node.output[0])])
    except (IndexError, ValueError):  # a shape is unknown, or has not the axes that the rule needs
        return None


Shapes = list[tuple[int, ...] | None]
Rule = Callable[[onnx.NodeProto, Shapes], int]
"""Shapes are those of the node's inputs, then of its first output."""


def _convolution(weight: int) -> Rule:
    """Each output element takes one multiply-add for each weight of its channel; weights are [out, in/groups, ...]."""
    return lambda _, shapes: math.prod(_known(shapes[-1])) * math.prod(_known(shapes[weight])[1:])


def _transposed_convolution(_: onnx.NodeProto, shapes: Shapes) -> int:
    """Each input element is spread by all weights of its channel; weights are [in, out/groups, ...]."""
    return math.prod(_known(shapes[0])) * math.prod(_known(shapes[1])[1:])


def _product(_: onnx.NodeProto, shapes: Shapes) -> int:
    return math.prod(_known(shapes[-1])) * _known(shapes[0])[-1]


def _gemm(node: onnx.NodeProto, shapes: Shapes) -> int:
    is_transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(_known(shapes[-1])) * _known(shapes[0])[0 if is_transposed else 1]


def _recurrent(_: onnx.NodeProto, shapes: Shapes) -> int:
    """Every step of every row meets all weights: those of the input, and those of the state."""
    steps, rows, _features = _known(shapes[0])
    return steps * rows * (math.prod(_known(shapes[1])) + math.prod(_known(shapes[2])))


def _einsum(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Of two operands without an ellipsis: one multiply-add for each combination of all indices."""
    equation = "".join(attribute.s.decode() for attribute in node.attribute if attribute.name == "equation")
    first, second = equation.replace(" ", "").partition("->")[0].split(",")
    lengths = dict(zip(first, _known(shapes[0]), strict=True)) | dict(zip(second, _known(shapes[1]), strict=True))
    return math.prod(lengths.values())


def _known(shape: tuple[int, ...] | None) -> tuple[int, ...]:
    if shape is None:
        raise ValueError
    return shape


_RULES: dict[str, Rule] = {
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed_convolution,
    "Gemm": _gemm,
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearMatMul": _product,
    "Einsum": _einsum,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
_NO_RULE = frozenset(
    {"Attention", "CausalConvWithState", "DFT", "DeformConv", "Det", "LinearAttention", "STFT"}
    | {"If", "Loop", "Scan", "SequenceMap"}
)
