"""What one inference of a batch costs by the graph: arithmetic, traffic and memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from app.errors import UsageError
from app.inference.inspection.dataflow import Dataflow
from app.inference.inspection.liveness import peak_activation_bytes
from app.inference.inspection.multiply_adds import multiply_adds
from app.inference.inspection.tensors import LARGEST_BYTES, dtype_name, size_bytes, tensors_within
from app.inference.inspection.value_sizes import ValueSizes
from app.inference.printable import printable
from app.records.model import BatchCost, Growth, Parameters


class OperatorFlops(msgspec.Struct, frozen=True):
    """By operator; in `unknown`, nodes whose FLOPs cannot be told."""

    flops: Counter[str]
    unknown: Counter[str]


def operator_name(domain: str, op_type: str) -> str:
    """With its domain, where that is not the standard one."""
    return printable(op_type if domain in ("", "ai.onnx") else f"{domain}.{op_type}")


def operator_flops(flow: Dataflow, sizes: ValueSizes) -> OperatorFlops:
    flops: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for step in flow.steps:
        name = operator_name(step.node.domain, step.node.op_type)
        found = multiply_adds(step.node, sizes.shape)
        if found is None:
            unknown[name] += 1
        else:
            flops[name] += 2 * found
    return OperatorFlops(flops, unknown)


def batch_cost(flow: Dataflow, sizes: ValueSizes, batch: int) -> BatchCost:
    """What is of unknown size is left out of the bytes."""

    def total(names: Iterable[str]) -> int:
        return sum(sizes.bytes(name) or 0 for name in names)

    flops = operator_flops(flow, sizes).flops.total()
    weights, read_whole = parameters_of(flow, sizes).bytes, total(flow.weights - flow.tables)
    activations = sum(total({*flow.content_read(step)}) + total(flow.content_made(step)) for step in flow.steps)
    looked_up = sum(total(step.makes) for step in flow.steps if not flow.tables.isdisjoint(step.reads))
    moved = read_whole + looked_up + activations
    outer = (name for name in {*flow.inputs, *flow.outputs} if name not in flow.weights)
    memory = weights + peak_activation_bytes(flow, lambda name: sizes.bytes(name) or 0)
    if max(flops, moved, memory) > LARGEST_BYTES:
        raise UsageError(f"an inference of {batch} rows takes more than a computer can count; look at the shapes")
    return BatchCost(
        batch=batch,
        flops=flops,
        moved_bytes=moved,
        least_bytes=read_whole + total(outer),
        memory_bytes=memory,
        flops_per_byte=flops / moved if moved else None,
    )


def unknown_values(flow: Dataflow, sizes: ValueSizes) -> int:
    made = (name for step in flow.steps for name in flow.content_made(step))
    return sum(sizes.bytes(name) is None for name in (*flow.inputs, *made))


def parameters_of(flow: Dataflow, sizes: ValueSizes) -> Parameters:
    by_dtype: Counter[str] = Counter()
    count = 0
    for name in flow.weights:
        count += sizes.elements(name) or 0
        by_dtype[dtype_name(sizes.dtype(name) or 0)] += sizes.bytes(name) or 0
    for tensor in (tensor for step in flow.steps for tensor in tensors_within(step.node)):
        count += math.prod(tensor.dims)
        by_dtype[dtype_name(tensor.data_type)] += size_bytes(tensor.data_type, tuple(tensor.dims)) or 0
    return Parameters(count, by_dtype.total(), dict(by_dtype.most_common()))


def growth(points: Sequence[tuple[int, int]]) -> Growth | None:
    """The line through all (batch, value) points; None where they are fewer than two or lie on no line."""
    if len(points) < 2:
        return None
    (first, start), (second, after) = points[:2]
    per_row, rest = divmod(after - start, second - first)
    fixed = start - per_row * first
    if rest or any(value != fixed + per_row * batch for batch, value in points):
        return None
    return Growth(fixed, per_row)
