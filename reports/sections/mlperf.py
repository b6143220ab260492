"""Results of MLPerf Inference for a language model, in a table of their own."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reports.sections.section import Column, Section, Table

CAVEAT = (
    "Vendors submitted these results of systems that they tuned. The rates are of all GPUs of a system together: in "
    "the offline scenario, all samples are queued at once; in the server scenario, they arrive at random times, and "
    "latency stays within MLPerf's limits. They are not compared with measured loads, and cannot be compared between "
    "rounds."
)
ONLY_OFFLINE = "There are results of the offline scenario only, which say nothing about latency."
OFFLINE = "offline"


class MlperfRow(msgspec.Struct, frozen=True, kw_only=True):
    """Result that a vendor submitted to MLPerf Inference, closed division. Rates are of all accelerators together."""

    round: str
    scenario: str
    benchmark: str
    """MLPerf's name of the model with its accuracy target."""
    accelerator: str
    accelerators: int
    precision: str
    engine: str
    tokens_per_s: float | None
    samples_per_s: float
    submitter: str
    system: str
    measured_on: str
    """Date of the run (ISO 8601)."""
    source: str
    """Address of the submission."""


def describe_results(rows: Sequence[MlperfRow]) -> str:
    """Return what a reader of some results must know."""
    is_only_offline = all(row.scenario == OFFLINE for row in rows)
    return f"{CAVEAT} {ONLY_OFFLINE}" if is_only_offline else CAVEAT


def list_results(rows: Sequence[MlperfRow]) -> Table[MlperfRow]:
    """Return the table of the results with its caveat."""
    return Table(rows=rows, note=describe_results(rows))


MLPERF = Section(
    name="mlperf",
    title="MLPerf Inference results, closed division",
    omits_empty=frozenset(),
    columns=(
        Column[MlperfRow]("round", "round"),
        Column("scenario", "scenario", is_prose=True),
        Column("gpus", "GPUs", lambda row: f"{row.accelerators} × {row.accelerator}", is_prose=True),
        Column("precision", "weights", is_prose=True),
        Column("engine", "engine", is_prose=True),
        Column("tokens_per_s", "tok/s"),
        Column("samples_per_s", "samples/s"),
        Column("submitter", "submitter", is_prose=True),
        Column("measured_on", "measured"),
        *(Column(key) for key in ("benchmark", "accelerator", "accelerators", "system", "source")),
    ),
    layouts={
        "all": "round | scenario gpus precision engine tokens_per_s samples_per_s submitter measured_on",
        "csv": "round | scenario benchmark accelerator accelerators precision engine tokens_per_s samples_per_s "
        "submitter system measured_on source",
    },
)
"""A list of a command and a table of the window, beside those of measured loads."""
