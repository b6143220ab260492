"""Requests of the answering stages by target and by name, where there are several."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa

from app.analysis.groups import Group, by_name, by_target
from app.records.result import Stage
from app.reporting.quantities import quantity
from reports import model


def group_tables(
    rows: pd.DataFrame | pa.Table, stages: Sequence[Stage], urls: Sequence[str] = ()
) -> tuple[model.GroupTable, ...]:
    """Empty tables are left out. `urls` are the targets', in their order."""
    if len(rows) == 0:
        return ()
    windows = [stage.window for stage in stages]
    found = (
        ("Requests by target", "target", by_target(rows, windows, urls)),
        ("Requests by the name the Locust test gave them", "name", by_name(rows, windows)),
    )
    return tuple(
        model.GroupTable(title=title, column=column, rows=tuple(map(_row, groups)))
        for title, column, groups in found
        if groups
    )


def _row(group: Group) -> model.GroupRow:
    return model.GroupRow(
        label=group.label,
        requests=group.requests,
        share=group.share,
        failed=group.failed,
        p50=quantity(group.p50_ms, "ms"),
        p95=quantity(group.p95_ms, "ms"),
    )
