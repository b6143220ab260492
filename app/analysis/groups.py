"""Group the requests of a run by target, or by the request name of a Locust test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa

from app.analysis.columns import Mask
from app.analysis.estimates import estimate_percentile
from app.analysis.rows import StageRows, read_rows
from app.analysis.spans import compute_durations_ms
from app.records.result import Estimate, Window

if TYPE_CHECKING:
    import pandas as pd

MAX_GROUPS = 50
_CHUNK_COLUMNS = ("chunk_ns", "chunk_tokens")
_OTHER_NAMES_LABEL = "all others"


class Group(msgspec.Struct, frozen=True):
    """Requests with the same label. `share` is their proportion of all requests. Latency
    percentiles cover successful responses and are measured from the scheduled start if it is
    known."""

    label: str
    requests: int
    share: float
    failed: int
    p50_ms: Estimate
    p95_ms: Estimate


def group_by_target(
    rows: pd.DataFrame | pa.Table, windows: Sequence[Window], urls: Sequence[str] = ()
) -> tuple[Group, ...]:
    """Group the requests scheduled inside the windows by target. Labels are URLs, or target numbers
    from 1. Return an empty tuple if there is only one target."""
    labels = _read_labels(rows, "target")
    if labels is None or labels.nunique() < 2:
        return ()
    groups = _group_rows(rows, labels, windows)
    return tuple(
        msgspec.structs.replace(group, label=_format_target_label(int(group.label), urls))
        for group in sorted(groups, key=lambda group: int(group.label))
    )


def _format_target_label(target: int, urls: Sequence[str]) -> str:
    if target < 0:
        return "never sent"
    return urls[target] if target < len(urls) and len(urls) > 1 else f"target {target + 1}"


def group_by_name(rows: pd.DataFrame | pa.Table, windows: Sequence[Window]) -> tuple[Group, ...]:
    """Group the requests scheduled inside the windows by name, most frequent name first. Return an
    empty tuple if no request has a name.

    There are at most `MAX_GROUPS` groups, and one additional group for all remaining names."""
    labels = _read_labels(rows, "name")
    if labels is None:
        return ()
    frequent_labels = labels.value_counts().index[:MAX_GROUPS]
    groups = _group_rows(rows, labels.where(labels.isin(frequent_labels), _OTHER_NAMES_LABEL), windows)
    return tuple(sorted(groups, key=lambda group: (group.label == _OTHER_NAMES_LABEL, -group.requests, group.label)))


def _read_labels(rows: pd.DataFrame | pa.Table, column: str) -> pd.Series | None:
    """Return one label per row, with a common label for unlabeled rows; `None` if the column is
    missing or empty."""
    frame = rows.select([column]).to_pandas() if isinstance(rows, pa.Table) else rows
    if column not in frame or not frame[column].notna().any():
        return None
    labels = frame[column].reset_index(drop=True)
    return labels.fillna(-1).astype(int) if column == "target" else labels.astype(object).fillna(_OTHER_NAMES_LABEL)


def _group_rows(rows: pd.DataFrame | pa.Table, labels: pd.Series, windows: Sequence[Window]) -> list[Group]:
    groups = []
    total_requests, rows_without_chunks = 0, _drop_chunks(rows)
    for label, indices in labels.groupby(labels, sort=False).indices.items():
        group_rows = (
            rows_without_chunks.take(pa.array(indices))
            if isinstance(rows_without_chunks, pa.Table)
            else rows_without_chunks.iloc[indices]
        )
        stage_rows = read_rows(group_rows)
        rows_inside = stage_rows.filter(_is_inside(stage_rows, windows))
        request_count = len(rows_inside.is_success)
        total_requests += request_count
        if request_count:
            groups.append(_summarize_group(str(label), rows_inside))
    return [msgspec.structs.replace(group, share=group.requests / total_requests) for group in groups]


def _drop_chunks(rows: pd.DataFrame | pa.Table) -> pd.DataFrame | pa.Table:
    """Drop the chunk columns. Groups do not use these columns, which make up most of the data of
    streamed rows."""
    if isinstance(rows, pa.Table):
        return rows.drop_columns([name for name in _CHUNK_COLUMNS if name in rows.column_names])
    return rows.drop(columns=list(_CHUNK_COLUMNS), errors="ignore")


def _is_inside(rows: StageRows, windows: Sequence[Window]) -> Mask:
    is_inside: Mask = np.zeros(rows.scheduled_ns.size, dtype=bool)
    for window in windows:
        is_inside |= (rows.scheduled_ns >= window.start_ns) & (rows.scheduled_ns < window.end_ns)
    return is_inside


def _summarize_group(label: str, rows: StageRows) -> Group:
    success_rows = rows.filter(rows.is_success)
    latency_ms = compute_durations_ms(success_rows, "latency_ms")
    values_ms = compute_durations_ms(success_rows, "service_ms") if latency_ms is None else latency_ms
    assert values_ms is not None
    return Group(
        label=label,
        requests=rows.is_success.size,
        share=0.0,
        failed=int(np.count_nonzero(rows.is_failed)),
        p50_ms=estimate_percentile(values_ms, 0.50),
        p95_ms=estimate_percentile(values_ms, 0.95),
    )
