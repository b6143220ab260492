"""Section of the sessions whose requests contained the server's own responses."""

from __future__ import annotations

import msgspec

from reports.quantity import Quantity
from reports.sections.section import Column, Section


class LiveSessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions of one stage whose requests contained the server's own responses.

    `outcomes` contains the number of sessions by the reason for their end; all rows have the same
    reasons. `build_mean` and `build_max` are the CPU time that the load generator needed to build a request from the
    responses.
    """

    stage: str
    outcomes: dict[str, int]
    built_requests: int
    build_mean: Quantity
    build_max: Quantity


SESSIONS: Section[LiveSessionRow] = Section(
    name="sessions",
    title="Sessions",
    caption="Sessions with the server's own responses: how they ended, and the CPU time to build a request from them",
    tab="breakdown",
    columns=(
        Column("stage", "stage"),
        Column("outcomes", expand=lambda row: row.outcomes),
        Column("built_requests", "built requests"),
        Column("build_mean", "mean time"),
        Column("build_max", "maximum time"),
    ),
    layouts={"all": "stage | outcomes | built_requests build_mean | build_max", "text": "", "markdown": ""},
)
