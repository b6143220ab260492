"""Section of the objectives of a run: the SLO and the gates."""

from __future__ import annotations

from typing import Literal

import msgspec

from reports.formatting import format_percent, format_quantity
from reports.marks import dim_undersampled, mark_status
from reports.quantity import Limit, Quantity
from reports.sections.section import Column, Noted, Section, State, describe_rows

Evaluation = Literal["PASS", "FAIL", "INCONCLUSIVE"]
ObjectiveKind = Literal["SLO", "gate"]


class ObjectiveRow(msgspec.Struct, frozen=True, kw_only=True):
    """Result of an SLO objective or a gate. `margin` is the distance to the limit as a fraction of
    the limit, negative if the objective is missed."""

    kind: ObjectiveKind
    text: str
    limit: Limit
    observed: Quantity
    margin: float | None
    outcome: Evaluation
    level: Literal["fail", "warn"]
    stage: str | None = None
    why: str | None = None
    """Reason why the objective is INCONCLUSIVE; `None` if it is PASS or FAIL."""
    implied: bool = False
    """True if the objective is not in the profile: an SLO without an error limit gets a default
    error limit."""
    label: str = ""
    """Display text of the objective; empty in reports of older versions."""

    @property
    def display_text(self) -> str:
        return self.label or self.text


_DEFAULT_NOTE = "(default: no error limit set)"


def _describe(row: ObjectiveRow) -> str:
    default_note = f" {_DEFAULT_NOTE}" if row.implied else ""
    location = f" in {row.stage}" if row.stage else ""
    reason_note = f"; {row.why}" if row.why else ""
    observed_text = dim_undersampled(row.observed, format_quantity(row.observed))
    return f"{mark_status(row.outcome)} {row.display_text}{default_note}: {observed_text}{location}{reason_note}"


def _format_kind(row: ObjectiveRow) -> str:
    return row.kind if row.level == "fail" else f"{row.kind}, warning only"


OBJECTIVES = Section(
    name="objectives",
    title="SLO",
    markdown_title="Objectives",
    caption="Service level objectives and gates, evaluated with 95 % CIs",
    list_tables=describe_rows(_describe),
    intervals={"markdown": "inline", "html": "inline"},
    part="result",
    record=ObjectiveRow,
    rows_name="objectives",
    tab=None,
    columns=(
        Column("objective", "objective", lambda row: Noted(row.display_text, _DEFAULT_NOTE if row.implied else "")),
        Column("kind", "kind", _format_kind),
        Column("observed", "observed (95 % CI)"),
        Column("samples", "samples", lambda row: row.observed.n),
        Column("margin", "margin", lambda row: None if row.margin is None else format_percent(row.margin)),
        Column("stage", "stage", is_prose=True),
        Column(
            "result",
            "result",
            lambda row: Noted(State(row.outcome, is_strong=True), suffix=row.why or ""),
            is_prose=True,
        ),
    ),
    layouts={"all": "objective | kind observed samples margin stage result", "text": "", "window": ""},
)
