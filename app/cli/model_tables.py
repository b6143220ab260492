"""Format the inspection of a model as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from app.cli.tables import TableFormat, format_cell, format_table
from app.records.model import BatchCost, GpuFit, Growth, ModelInspection, ModelMetadata, ModelValue, OperatorCount
from reports.sections.section import Column

_MAX_OPERATORS = 12
_DECIMAL_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def format_inspection(inspection: ModelInspection) -> Iterator[str]:
    metadata = inspection.model
    yield from _format_file(metadata)
    yield ""
    yield format_table(_VALUE_COLUMNS, _list_directed_values(metadata))
    yield ""
    yield from _format_operators(metadata)
    yield ""
    yield from _format_costs(metadata)
    yield from _format_gpus(inspection)


def format_inspection_tables(inspection: ModelInspection, table_format: TableFormat) -> list[str]:
    """Return the tables of an inspection without notes: inputs and outputs, operators, costs by
    batch size, and GPUs."""
    metadata = inspection.model
    tables = [
        format_table(_VALUE_COLUMNS, _list_directed_values(metadata), table_format),
        format_table(_OPERATOR_COLUMNS, metadata.operators, table_format),
    ]
    if metadata.costs:
        tables.append(format_table(_build_cost_columns(metadata), metadata.costs, table_format))
    if inspection.gpus:
        tables.append(format_table(_build_gpu_columns(metadata), inspection.gpus, table_format))
    return tables


def _format_file(metadata: ModelMetadata) -> Iterator[str]:
    parameters = metadata.parameters
    dtypes_text = ", ".join(f"{_format_amount(size, 'B')} {dtype}" for dtype, size in parameters.bytes_by_dtype.items())
    opsets = ", ".join(f"{domain} {version}" for domain, version in metadata.opsets.items())
    yield f"file        {metadata.file}, {_format_amount(metadata.size_bytes, 'B')}, sha256 {metadata.sha256}"
    yield f"format      IR version {metadata.ir_version}, opset {opsets}, producer {format_cell(metadata.producer)}"
    yield f"parameters  {_format_amount(parameters.count)}" + (f" ({dtypes_text})" if dtypes_text else "")
    for file in metadata.external_files:
        yield f"weights in  {file.name}, {_format_amount(file.size_bytes, 'B')}"


_DirectedValue = tuple[str, ModelValue]
"""Input or output of a model with its direction, `in` or `out`."""
_VALUE_COLUMNS = (
    Column[_DirectedValue]("direction", "I/O", lambda row: row[0]),
    Column[_DirectedValue]("name", "name", lambda row: row[1].name),
    Column[_DirectedValue]("type", "type", lambda row: row[1].dtype),
    Column[_DirectedValue]("shape", "shape", lambda row: _format_shape(row[1])),
)


def _list_directed_values(metadata: ModelMetadata) -> list[_DirectedValue]:
    return [*(("in", value) for value in metadata.inputs), *(("out", value) for value in metadata.outputs)]


def _format_shape(value: ModelValue) -> str:
    return "n/a" if value.shape is None else " × ".join(map(str, value.shape)) or "scalar"


_OPERATOR_COLUMNS = (
    Column[OperatorCount]("operator", "operator"),
    Column[OperatorCount]("nodes", "nodes"),
    Column[OperatorCount]("flops"),
    Column[OperatorCount]("", "FLOPs", lambda usage: _format_flops(usage.flops)),
)


def _format_operators(metadata: ModelMetadata) -> Iterator[str]:
    yield format_table(_OPERATOR_COLUMNS, metadata.operators[:_MAX_OPERATORS])
    other_operators = metadata.operators[_MAX_OPERATORS:]
    if other_operators:
        other_node_count = sum(usage.nodes for usage in other_operators)
        yield f"{other_node_count} nodes of {len(other_operators)} other operators are not listed"


def _format_costs(metadata: ModelMetadata) -> Iterator[str]:
    if not metadata.costs:
        yield f"FLOPs, bytes and memory  n/a: {metadata.cost_reason}"
        return
    yield format_table(_build_cost_columns(metadata), metadata.costs)
    if metadata.batch_axes:
        growth_texts = (
            f"FLOPs {_format_growth(metadata.flops_growth)}",
            f"bytes moved {_format_growth(metadata.moved_growth, 'B')}",
            f"memory {_format_growth(metadata.memory_growth, 'B')}",
        )
        yield f"at batch size b ({', '.join(metadata.batch_axes)}): {', '.join(growth_texts)}"
    yield from _format_notes(metadata)


def _build_cost_columns(metadata: ModelMetadata) -> tuple[Column[BatchCost], ...]:
    flops_prefix = "≥ " if metadata.unknown_nodes else ""
    bytes_prefix = "≥ " if metadata.unknown_values else ""
    return (
        Column("batch", "batch"),
        Column("flops"),
        Column("", "FLOPs", lambda cost: flops_prefix + _format_amount(cost.flops)),
        Column("moved_bytes"),
        Column("", "bytes moved", lambda cost: bytes_prefix + _format_amount(cost.moved_bytes, "B")),
        Column("min_bytes"),
        Column("flops_per_byte", "FLOPs/byte"),
        Column("memory_bytes"),
        Column("", "memory", lambda cost: bytes_prefix + _format_amount(cost.memory_bytes, "B")),
    )


def _format_notes(metadata: ModelMetadata) -> Iterator[str]:
    counted_text = ", ".join(metadata.counted_operators) or "none of the operators"
    yield f"FLOPs: each multiply-add ({counted_text}) counts as 2. Other arithmetic is not counted."
    if metadata.unknown_nodes:
        unknown_share = metadata.unknown_nodes / metadata.nodes
        unknown_text = ", ".join(metadata.unknown_operators)
        nodes_text = f"{metadata.unknown_nodes} of {metadata.nodes} nodes ({100 * unknown_share:.0f} %)"
        yield f"       FLOPs are unknown for {nodes_text}: {unknown_text}."
    yield "bytes: each operator is assumed to read its inputs and write its outputs once; operator fusion reduces this."
    if metadata.unknown_values:
        yield f"       {metadata.unknown_values} values of unknown size are not included in bytes moved and memory."
    yield (
        "memory: weights and peak live activations are included; the runtime's own memory (context, workspace) is not."
    )


def _format_gpus(inspection: ModelInspection) -> Iterator[str]:
    if inspection.gpu_note:
        yield f"No GPU was detected: {inspection.gpu_note}"
    if not inspection.gpus:
        return
    if not any(gpu.is_installed for gpu in inspection.gpus):
        yield "No GPU with known memory was detected, so the GPUs of the catalog are shown."
    yield ""
    yield format_table(_build_gpu_columns(inspection.model), inspection.gpus)
    yield "The max batch leaves 10 % of the GPU memory free. Times are lower bounds, not measurements or predictions."
    yield (
        "They use published dense peak FLOP/s, and assume direct convolution and weights that are read from GPU memory "
        "for each inference."
    )


def _build_gpu_columns(metadata: ModelMetadata) -> tuple[Column[GpuFit], ...]:
    return (
        Column("gpu", "GPU", lambda gpu: gpu.name),
        Column("is_installed"),
        Column("memory_gib", "GiB"),
        Column("max_batch", "", lambda gpu: gpu.largest_batch),
        Column("", "max batch", lambda gpu: _format_max_batch(gpu, metadata)),
        Column("min_latency_ms"),
        Column("limited_by"),
        Column("", "ms/inference", _format_min_latency),
    )


def _format_max_batch(gpu: GpuFit, metadata: ModelMetadata) -> str:
    if gpu.largest_batch is None:
        return "does not fit"
    is_lower_bound = bool(metadata.batch_axes) and gpu.largest_batch == metadata.costs[-1].batch
    return f"{gpu.largest_batch} or more" if is_lower_bound else str(gpu.largest_batch)


def _format_min_latency(gpu: GpuFit) -> str | None:
    return None if gpu.min_latency_ms is None else f"≥ {gpu.min_latency_ms:.3g} ({gpu.limited_by})"


def _format_flops(flops: int | None) -> str | None:
    return None if flops is None else _format_amount(flops) if flops else "-"


def _format_growth(growth: Growth | None, unit: str = "") -> str:
    if growth is None:
        return "not linear in b"
    per_row = f"{_format_amount(growth.per_row, unit)} × b"
    return f"{_format_amount(growth.fixed, unit)} + {per_row}" if growth.fixed else per_row


def _format_amount(number: int, unit: str = "") -> str:
    """Format a number with three significant digits and a decimal prefix: 8.18 G, 103 MB."""
    for factor, prefix in _DECIMAL_PREFIXES:
        if abs(number) >= factor:
            return f"{number / factor:.3g} {prefix}{unit}"
    return f"{number} {unit}".rstrip()
