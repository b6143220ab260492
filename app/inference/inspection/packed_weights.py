"""Count the parameters in the weights of ONNX Runtime's own operators, which store quantized weights
in packed form, together with their scales and with tables that are no parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx

from app.errors import UsageError
from app.inference.folder_file import EXPORT_HINT
from app.inference.inspection.reading import Step
from app.inference.tensor_spec import printable

_DOMAIN = "com.microsoft"
_NOT_PARAMETERS = {
    "MatMulNBits": (2, 3, 4),
    "MatMulBnb4": (2,),
    "GatherBlockQuantized": (2, 3),
    "QMoE": (3, 6, 9, 11, 12, 13),
    "GroupQueryAttention": (7, 8),
    "RotaryEmbedding": (2, 3),
}
"""Indexes of the inputs that are scales, zero points, group indexes or tables of rotary embeddings,
by operator."""
_EXPERT_WEIGHTS = {"QMoE": (2, 5, 8), "MoE": (2, 4, 6)}
"""Indexes of the inputs with the weights of all experts, whose first axis is the expert."""
_DEFAULT_BITS = 4

ComputeBytes = Callable[[str], int | None]


def count_packed_parameters(steps: Iterable[Step], compute_bytes: ComputeBytes) -> dict[str, int]:
    """Return the number of parameters in the weights that ONNX Runtime's operators read, by name,
    where it differs from the number of stored elements. `compute_bytes` returns the stored size of a
    weight.

    Raises UsageError if an operator declares more parameters than its weights can store."""
    counts: dict[str, int] = {}
    for step in steps:
        node = step.node
        if node.domain != _DOMAIN:
            continue
        for index in _NOT_PARAMETERS.get(node.op_type, ()):
            if index < len(node.input):
                counts[node.input[index]] = 0
        if node.op_type in ("MatMulNBits", "MatMulBnb4"):
            _add_matmul(node, compute_bytes, counts)
        elif node.op_type == "GatherBlockQuantized":
            _add_unpacked(node, (0,), _get_integer(node, "bits", _DEFAULT_BITS), compute_bytes, counts)
        elif node.op_type == "QMoE":
            bits = _get_integer(node, "expert_weight_bits", _DEFAULT_BITS)
            _add_unpacked(node, _EXPERT_WEIGHTS["QMoE"], bits, compute_bytes, counts)
    return counts


def list_expert_weights(node: onnx.NodeProto) -> list[str]:
    """Return the names of the weights of a node's experts; empty for other operators."""
    if node.domain != _DOMAIN:
        return []
    indexes = _EXPERT_WEIGHTS.get(node.op_type, ())
    return [node.input[index] for index in indexes if index < len(node.input) and node.input[index]]


def get_experts_per_token(node: onnx.NodeProto) -> int:
    return _get_integer(node, "k", 1)


def _add_matmul(node: onnx.NodeProto, compute_bytes: ComputeBytes, counts: dict[str, int]) -> None:
    bits = _DEFAULT_BITS if node.op_type == "MatMulBnb4" else _get_integer(node, "bits", _DEFAULT_BITS)
    rows, columns = _get_integer(node, "K", 0), _get_integer(node, "N", 0)
    stored_bytes = compute_bytes(node.input[1]) if len(node.input) > 1 else None
    if stored_bytes is None:
        return
    if rows < 1 or columns < 1 or bits < 1 or rows * columns * bits > stored_bytes * 8:
        raise UsageError(
            f"{node.op_type} {printable(node.name)!r} declares {rows} × {columns} parameters of {bits} bits, which do "
            "not match its weights",
            hint=EXPORT_HINT,
        )
    counts[node.input[1]] = rows * columns


def _add_unpacked(
    node: onnx.NodeProto,
    indexes: tuple[int, ...],
    bits: int,
    compute_bytes: ComputeBytes,
    counts: dict[str, int],
) -> None:
    for index in indexes:
        if index < len(node.input) and 0 < bits <= 8:
            stored_bytes = compute_bytes(node.input[index])
            if stored_bytes is not None:
                counts[node.input[index]] = stored_bytes * 8 // bits


def _get_integer(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)
