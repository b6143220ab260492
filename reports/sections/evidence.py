"""Measured loads of language models: published points, the user's own, and those nearest to a plan."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from reports import formatting
from reports.sections.section import Column, Section, Table

UNKNOWN_VERSION = "unknown"
"""Version of an engine that the source does not state."""


class EvidenceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A measured load of one replica of a language model.

    Latencies are means in ms. Lengths of published points are nominal, those of the user's own are means, in tokens.
    `clients` is None for an open loop, and `rate_per_s` for a closed one. Values that the source does not state are
    None.
    """

    id: str
    source: str
    model: str
    accelerator: str
    accelerators: int
    tensor_parallel: int
    expert_parallel: int
    precision: str
    engine: str
    version: str
    input_tokens: int | float
    output_tokens: int | float
    clients: int | float | None
    rate_per_s: float | None = None
    ttft_ms: float | None
    tpot_ms: float | None
    measured_on: str | None
    """Date of the measurement (ISO 8601)."""
    flags: str | None = None
    """Script of InferenceX with the flags of the engine."""
    speculation: bool | None = None
    """Whether the server decoded speculatively."""
    image: str | None = None
    """Container image of the server."""


class NearestPointRow(EvidenceRow, frozen=True, kw_only=True):
    """Published point near to the planned server, and what the model of step times predicts for it: mean TTFT and mean
    TPOT in ms that the clients of a closed loop observe."""

    predicted_ttft_ms: float
    predicted_tpot_ms: float
    distance: float
    """Distance from the planned server, in factors of two and steps of similar effect."""


def describe_point(row: NearestPointRow) -> str:
    """Describe a published point, what the model predicts for it, and who published it."""
    lengths_text = " + ".join(formatting.format_plain(tokens) for tokens in (row.input_tokens, row.output_tokens))
    clients_text = formatting.NOT_AVAILABLE if row.clients is None else formatting.format_plain(row.clients)
    ttft, predicted_ttft, tpot, predicted_tpot = (
        formatting.NOT_AVAILABLE if value is None else formatting.format_number(value)
        for value in (row.ttft_ms, row.predicted_ttft_ms, row.tpot_ms, row.predicted_tpot_ms)
    )
    return (
        f"{row.model}, {row.precision} on {_format_gpus(row)}, {_format_engine(row)}, {lengths_text} tokens, "
        f"{clients_text} clients: TTFT {ttft} ms (predicted {predicted_ttft}), TPOT {tpot} ms (predicted "
        f"{predicted_tpot}); {row.source}"
    )


def _format_gpus(row: EvidenceRow) -> str:
    return f"{row.accelerators} × {row.accelerator}"


def _format_engine(row: EvidenceRow) -> str:
    return row.engine if row.version == UNKNOWN_VERSION else f"{row.engine} {row.version}"


def _column_of_nearest(key: str, label: str) -> Column[EvidenceRow]:
    """Return a column of a field that only the points nearest to a plan have."""
    return Column(key, label, partial(_read_field, key))


def _read_field(key: str, row: EvidenceRow) -> float | None:
    value: float | None = getattr(row, key, None)
    return value


EVIDENCE = Section(
    name="evidence",
    title="Measured loads of language models",
    caption="Nearest published points: measured, and predicted by the model of step times",
    style="nearest",
    omits_empty=frozenset(("window",)),
    columns=(
        Column("id", "ID", is_prose=True),
        Column("source", "source", is_prose=True),
        Column("model", "model", is_prose=True),
        Column("precision", "weights", is_prose=True),
        Column("gpus", "GPUs", _format_gpus, is_prose=True),
        Column("tensor_parallel", "TP"),
        Column("expert_parallel", "EP"),
        Column("served_by", "engine", _format_engine, is_prose=True),
        Column("input_tokens", "input"),
        Column("output_tokens", "output"),
        Column("clients", "clients"),
        Column("rate_per_s", "req/s"),
        Column("ttft_ms", "TTFT (ms)"),
        _column_of_nearest("predicted_ttft_ms", "predicted"),
        Column("tpot_ms", "TPOT (ms)"),
        _column_of_nearest("predicted_tpot_ms", "predicted"),
        Column("measured_on", "measured"),
        Column("flags_known", "flags known", lambda row: row.flags is not None),
        Column("speculation", "speculation"),
        *(Column(key) for key in ("accelerator", "accelerators", "engine", "version", "flags", "image")),
    ),
    layouts={
        "all": "id | source model gpus tensor_parallel expert_parallel precision served_by input_tokens output_tokens "
        "clients rate_per_s ttft_ms | tpot_ms measured_on flags_known speculation",
        "html": "model | precision gpus served_by input_tokens output_tokens clients | ttft_ms predicted_ttft_ms | "
        "tpot_ms predicted_tpot_ms",
        "window": "source | model gpus tensor_parallel expert_parallel precision served_by input_tokens output_tokens "
        "clients rate_per_s ttft_ms predicted_ttft_ms tpot_ms predicted_tpot_ms measured_on speculation id",
        "csv": "id | source model accelerator accelerators tensor_parallel expert_parallel precision engine version "
        "input_tokens output_tokens clients rate_per_s ttft_ms tpot_ms measured_on flags_known flags speculation image",
    },
)
"""Text and Markdown list points, HTML the points that are nearest to a plan, and the window both."""


def list_model_points(model: str, rows: Sequence[EvidenceRow]) -> Table[EvidenceRow]:
    """Return the table of the points of one model."""
    return Table(rows=rows, caption=f"Measured loads of {model}")
