"""Section of the served model, measured on this machine without the server, by batch size."""

from __future__ import annotations

import msgspec

from reports.formatting import format_inference_rate, format_quantity
from reports.quantity import CheckRow, NamedQuantity, Quantity
from reports.sections.section import Column, Output, Section, Table, format_dimmed


class BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """Latency and throughput of one variant of the local model."""

    provider: str
    precision: str
    batch: int
    threads: int
    p50: Quantity
    p95: Quantity
    p99: Quantity
    throughput: Quantity


class ModelSection(msgspec.Struct, frozen=True, kw_only=True):
    """Results of the model on this machine, measured without a network. `proof` contains the checks
    that show on which hardware the model ran."""

    name: str
    batches: tuple[BatchRow, ...]
    accuracy: Quantity | None
    cold_start: tuple[NamedQuantity, ...]
    proof: tuple[CheckRow, ...]


def _list_tables(model: ModelSection, output: Output) -> list[Table[BatchRow]]:
    return [Table(rows=(), lines=_describe(model)) if output == "text" else Table(rows=model.batches)]


def _describe(model: ModelSection) -> list[str]:
    best_row = max(model.batches, key=lambda row: row.throughput.value or 0.0)
    accuracy_text = f"; accuracy {format_quantity(model.accuracy)}" if model.accuracy else ""
    distinct_rows = dict.fromkeys((model.batches[0], best_row))
    return [f"{model.name} without server{accuracy_text}", *map(_describe_batch, distinct_rows)]


def _describe_batch(row: BatchRow) -> str:
    provider_name = row.provider.removesuffix("ExecutionProvider")
    times_text = f"p50 {format_dimmed(row.p50)}, p95 {format_dimmed(row.p95)}"
    return f"batch {row.batch} on {provider_name}: {times_text}, {format_inference_rate(row.throughput)}"


MODEL_ONLY = Section(
    name="model",
    title="Model",
    caption="Call time and throughput by batch size",
    list_tables=_list_tables,
    intervals={"html": "inline", "window": "inline"},
    part="model",
    tab=None,
    columns=(
        Column("batch", "batch size"),
        Column("provider", "provider", is_prose=True),
        Column("precision", "precision", is_prose=True),
        Column("threads", "threads"),
        Column("p50", "p50"),
        Column("p95", "p95"),
        Column("p99", "p99"),
        Column("throughput", "throughput", lambda row: msgspec.structs.replace(row.throughput, unit="inferences/s")),
    ),
    layouts={"all": "batch | provider precision threads p50 p95 p99 throughput", "text": "", "markdown": ""},
)
