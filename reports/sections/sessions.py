"""Section of the sessions whose requests contained the server's own responses."""

from __future__ import annotations

import msgspec

from reports.quantity import Quantity
from reports.sections.section import Section, TableColumn


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
        TableColumn("stage", "stage"),
        TableColumn("outcomes", expand=lambda row: row.outcomes),
        TableColumn("built_requests", "built requests"),
        TableColumn("build_mean", "mean time"),
        TableColumn("build_max", "maximum time"),
    ),
    layouts={"all": "stage | outcomes | built_requests build_mean | build_max", "text": "", "markdown": ""},
)
