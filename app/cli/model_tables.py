"""Format the inspection of a model as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from app.cli.tables import format_cell, format_table
from app.records.model import Growth, ModelInspection, ModelMetadata, ModelValue

_TOP_OPERATORS = 12
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def format_inspection(inspection: ModelInspection) -> Iterator[str]:
    facts = inspection.model
    yield from _file(facts)
    yield ""
    values = [("in", value) for value in facts.inputs] + [("out", value) for value in facts.outputs]
    yield format_table(
        ("", "name", "type", "shape"), [(way, value.name, value.dtype, _shape(value)) for way, value in values]
    )
    yield ""
    yield from _operators(facts)
    yield ""
    yield from _costs(facts)
    yield from _cards(inspection)


def _file(metadata: ModelMetadata) -> Iterator[str]:
    parameters = metadata.parameters
    by_dtype = ", ".join(f"{_amount(size, 'B')} {dtype}" for dtype, size in parameters.bytes_by_dtype.items())
    opsets = ", ".join(f"{domain} {version}" for domain, version in metadata.opsets.items())
    yield f"file        {metadata.file}, {_amount(metadata.size_bytes, 'B')}, sha256 {metadata.sha256}"
    yield f"format      IR version {metadata.ir_version}, opset {opsets}, producer {format_cell(metadata.producer)}"
    yield f"parameters  {_amount(parameters.count)}" + (f" ({by_dtype})" if by_dtype else "")
    for file in metadata.external_files:
        yield f"weights in  {file.name}, {_amount(file.size_bytes, 'B')}"


def _shape(value: ModelValue) -> str:
    return "n/a" if value.shape is None else " × ".join(map(str, value.shape)) or "scalar"


def _operators(metadata: ModelMetadata) -> Iterator[str]:
    rows = [(usage.operator, usage.nodes, _flops(usage.flops)) for usage in metadata.operators[:_TOP_OPERATORS]]
    yield format_table(("operator", "nodes", "FLOPs"), rows)
    others = metadata.operators[_TOP_OPERATORS:]
    if others:
        yield f"plus {sum(usage.nodes for usage in others)} nodes of {len(others)} other operators"


def _costs(metadata: ModelMetadata) -> Iterator[str]:
    if not metadata.costs:
        yield f"FLOPs, bytes and memory  n/a: {metadata.cost_reason}"
        return
    flops_sign = "≥ " if metadata.unknown_nodes else ""
    bytes_sign = "≥ " if metadata.unknown_values else ""
    rows = [
        (
            cost.batch,
            flops_sign + _amount(cost.flops),
            bytes_sign + _amount(cost.moved_bytes, "B"),
            "n/a" if cost.flops_per_byte is None else f"{cost.flops_per_byte:.3g}",
            bytes_sign + _amount(cost.memory_bytes, "B"),
        )
        for cost in metadata.costs
    ]
    yield format_table(("batch", "FLOPs", "bytes moved", "FLOPs/byte", "memory"), rows)
    if metadata.batch_axes:
        grown = (
            f"FLOPs {_growth(metadata.flops_growth)}",
            f"bytes moved {_growth(metadata.moved_growth, 'B')}",
            f"memory {_growth(metadata.memory_growth, 'B')}",
        )
        yield f"at batch size b ({', '.join(metadata.batch_axes)}): {', '.join(grown)}"
    yield from _notes(metadata)


def _notes(metadata: ModelMetadata) -> Iterator[str]:
    counted = ", ".join(metadata.counted_operators) or "none of the operators"
    yield f"FLOPs: 2 per multiply-add ({counted}). Other arithmetic is not counted."
    if metadata.unknown_nodes:
        share = metadata.unknown_nodes / metadata.nodes
        unknown = ", ".join(metadata.unknown_operators)
        yield f"       Unknown for {metadata.unknown_nodes} of {metadata.nodes} nodes ({share:.0%}): {unknown}."
    yield "bytes: assumes that each operator reads its inputs and writes its outputs once; fusion reduces this."
    if metadata.unknown_values:
        yield f"       {metadata.unknown_values} values of unknown size are not counted, also in the memory."
    yield "memory: weights and peak live activations, without the runtime's own memory (context, workspace)."


def _cards(inspection: ModelInspection) -> Iterator[str]:
    if inspection.gpu_note:
        yield f"No GPU detected: {inspection.gpu_note}"
    if not inspection.gpus:
        return
    if not any(card.is_installed for card in inspection.gpus):
        yield "No GPU with known memory detected; showing the GPUs of the catalog."
    yield ""
    last = inspection.model.costs[-1].batch
    rows = [
        (
            card.name,
            card.memory_gib,
            "does not fit" if card.largest_batch is None else _batch(card.largest_batch, last, inspection.model),
            "n/a" if card.min_latency_ms is None else f"≥ {card.min_latency_ms:.3g} ({card.limited_by})",
        )
        for card in inspection.gpus
    ]
    yield format_table(("GPU", "GiB", "max batch", "ms/inference"), rows)
    yield (
        "The max batch leaves 10 % of the GPU memory free. Times are lower bounds, not measurements or predictions: "
        "they use"
    )
    yield (
        "published dense peak FLOP/s and assume plain convolution and weights read from GPU memory for each inference."
    )


def _batch(largest: int, last: int, metadata: ModelMetadata) -> str:
    return f"{largest} or more" if largest == last and metadata.batch_axes else str(largest)


def _flops(flops: int | None) -> str | None:
    return None if flops is None else _amount(flops) if flops else "-"


def _growth(growth: Growth | None, unit: str = "") -> str:
    if growth is None:
        return "not linear in b"
    per_row = f"{_amount(growth.per_row, unit)} × b"
    return f"{_amount(growth.fixed, unit)} + {per_row}" if growth.fixed else per_row


def _amount(number: int, unit: str = "") -> str:
    """Format a number with three significant digits and a decimal prefix: 8.18 G, 103 MB."""
    for size, prefix in _UNITS:
        if abs(number) >= size:
            return f"{number / size:.3g} {prefix}{unit}"
    return f"{number} {unit}".rstrip()
