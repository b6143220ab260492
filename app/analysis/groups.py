"""Requests of one run by what they have in common: which of several targets, which name a Locust test gave them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from app.analysis.columns import Mask
from app.analysis.estimates import percentile
from app.analysis.rows import StageRows, read_rows
from app.analysis.spans import span_ms
from app.records.result import Estimate, Window

MOST_GROUPS = 50
_CHUNKS = ("chunk_ns", "chunk_tokens")
_OTHERS = "all others"


class Group(msgspec.Struct, frozen=True):
    """`share` is of all requests; times are of successful answers, from the intended start where it is known."""

    label: str
    requests: int
    share: float
    failed: int
    p50_ms: Estimate
    p95_ms: Estimate


def by_target(rows: pd.DataFrame | pa.Table, windows: Sequence[Window], urls: Sequence[str] = ()) -> tuple[Group, ...]:
    """Of requests intended inside the windows, by the targets' URLs or counted from 1; empty where there is one."""
    labels = _labels(rows, "target")
    if labels is None or labels.nunique() < 2:
        return ()
    groups = _grouped(rows, labels, windows)
    return tuple(
        msgspec.structs.replace(group, label=_target_label(int(group.label), urls))
        for group in sorted(groups, key=lambda one: int(one.label))
    )


def _target_label(place: int, urls: Sequence[str]) -> str:
    if place < 0:
        return "never sent"
    return urls[place] if place < len(urls) and len(urls) > 1 else f"target {place + 1}"


def by_name(rows: pd.DataFrame | pa.Table, windows: Sequence[Window]) -> tuple[Group, ...]:
    """The most frequent names first, at most `MOST_GROUPS`, the rest as one; empty without names."""
    labels = _labels(rows, "name")
    if labels is None:
        return ()
    frequent = labels.value_counts().index[:MOST_GROUPS]
    groups = _grouped(rows, labels.where(labels.isin(frequent), _OTHERS), windows)
    return tuple(sorted(groups, key=lambda one: (one.label == _OTHERS, -one.requests, one.label)))


def _labels(rows: pd.DataFrame | pa.Table, column: str) -> pd.Series | None:
    """None where the column is missing or empty; a row without a label is one of the others."""
    frame = rows.select([column]).to_pandas() if isinstance(rows, pa.Table) else rows
    if column not in frame or not frame[column].notna().any():
        return None
    labels = frame[column].reset_index(drop=True)
    return labels.fillna(-1).astype(int) if column == "target" else labels.astype(object).fillna(_OTHERS)


def _grouped(rows: pd.DataFrame | pa.Table, labels: pd.Series, windows: Sequence[Window]) -> list[Group]:
    found = []
    total, light = 0, _without_chunks(rows)
    for label, places in labels.groupby(labels, sort=False).indices.items():
        part = light.take(pa.array(places)) if isinstance(light, pa.Table) else light.iloc[places]
        read = read_rows(part)
        inside = read.where(_is_inside(read, windows))
        size = len(inside.is_success)
        total += size
        if size:
            found.append(_group(str(label), inside))
    return [msgspec.structs.replace(group, share=group.requests / total) for group in found]


def _without_chunks(rows: pd.DataFrame | pa.Table) -> pd.DataFrame | pa.Table:
    """What no group tells of, and what is most of a stream's rows."""
    if isinstance(rows, pa.Table):
        return rows.drop_columns([name for name in _CHUNKS if name in rows.column_names])
    return rows.drop(columns=list(_CHUNKS), errors="ignore")


def _is_inside(rows: StageRows, windows: Sequence[Window]) -> Mask:
    inside: Mask = np.zeros(rows.intended_ns.size, dtype=bool)
    for window in windows:
        inside |= (rows.intended_ns >= window.start_ns) & (rows.intended_ns < window.end_ns)
    return inside


def _group(label: str, rows: StageRows) -> Group:
    success = rows.where(rows.is_success)
    spans_ms = span_ms(success, "latency_ms")
    values_ms = span_ms(success, "service_ms") if spans_ms is None else spans_ms
    assert values_ms is not None
    return Group(
        label=label,
        requests=rows.is_success.size,
        share=0.0,
        failed=int(np.count_nonzero(rows.is_failed)),
        p50_ms=percentile(values_ms, 0.50),
        p95_ms=percentile(values_ms, 0.95),
    )
