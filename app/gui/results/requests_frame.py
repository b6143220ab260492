"""Every request of a run as a row of a table, the slowest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from app.analysis.columns import Floats, Mask
from app.analysis.rows import NOT_STARTED, StageRows, read_rows
from app.analysis.spans import span_ms

if TYPE_CHECKING:
    import pyarrow as pa

    from app.reporting.opened import OpenedRun

_CHUNKS = ("chunk_ns", "chunk_tokens")
_TIMES = ("latency_ms", "service_ms", "ttft_ms", "tpot_ms", "send_lag_ms")
OK, FAILED = "ok", "failed"
Places = npt.NDArray[Any]


def requests_frame(run: OpenedRun) -> pd.DataFrame:
    """`at_s` is when it was intended, from the start of the run. What cannot be known of any is no column."""
    table = run.table.drop_columns([name for name in _CHUNKS if name in run.table.column_names])
    if table.num_rows == 0:
        return pd.DataFrame({"at_s": np.empty(0)})
    rows = read_rows(table)
    order = _order(table)
    names = {facts.index: facts.name for facts in run.facts.facts}
    stages = table["stage"].to_numpy()[order]
    columns: dict[str, object] = {
        "at_s": (rows.intended_ns - run.result.zero_ns) / 1e9,
        "stage": _named(stages, names),
    }
    for name in _TIMES:
        values_ms = span_ms(rows, name)
        if values_ms is not None and (of_it := _known(values_ms, rows, name)) is not None:
            columns[name] = of_it
    columns["result"] = _words(_results(rows), [OK, FAILED, NOT_STARTED])
    status = table["status"]
    if status.null_count < len(status):
        columns["status"] = status.to_pandas().to_numpy(dtype=np.float64, na_value=np.nan)[order]
    columns["error"] = _words(np.where(rows.is_failed, rows.error.places, -1), rows.error.words)
    frame = pd.DataFrame(columns)
    slowest = next((name for name in ("latency_ms", "service_ms") if name in frame), "at_s")
    return frame.sort_values(slowest, ascending=False, na_position="last", kind="stable").reset_index(drop=True)


def mask_of(
    frame: pd.DataFrame, stage: str | None, result: str | None, error: str | None, least_ms: float | None
) -> Mask | None:
    """The rows that are meant; None is all of them. What was not answered is no slower than a limit."""
    wanted = [("stage", stage), ("result", result), ("error", error)]
    masks = [_is(frame[name], value) for name, value in wanted if value is not None]
    times = next((name for name in ("latency_ms", "service_ms") if name in frame), None)
    if least_ms is not None and times is not None:
        with np.errstate(invalid="ignore"):
            masks.append(frame[times].to_numpy() >= least_ms)
    return np.logical_and.reduce(masks) if masks else None


def _is(column: pd.Series, value: str) -> Mask:
    words = list(column.cat.categories)
    return np.asarray(column.cat.codes.to_numpy() == (words.index(value) if value in words else -2))


def _words(places: Places, words: Sequence[str]) -> pd.Categorical:
    return pd.Categorical.from_codes(places, pd.Index(list(words), dtype=object))


def _order(table: pa.Table) -> Places:
    """As `read_rows` has it."""
    import pyarrow.compute as pc

    at_ns = pc.coalesce(table["intended_ns"], table["sent_ns"]).fill_null(0).to_numpy()
    return np.argsort(at_ns, kind="stable")


def _named(stages: Places, names: dict[int, str]) -> pd.Categorical:
    """Repeats of a stage have one name."""
    known = sorted(set(stages.tolist()))
    words = list(dict.fromkeys(names.get(one, f"stage {one}, cut off") for one in known))
    place = {one: words.index(names.get(one, f"stage {one}, cut off")) for one in known}
    of_index = np.full(max(known, default=0) + 1, -1, dtype=np.int32)
    of_index[known] = [place[one] for one in known]
    return _words(of_index[stages], words)


def _known(values_ms: Floats, rows: StageRows, name: str) -> Floats | None:
    """Of answers only, but for the lag of what was sent; None where no request has one."""
    is_there = rows.was_sent if name == "send_lag_ms" else rows.is_success
    kept = np.where(is_there, values_ms, np.nan)
    return None if np.isnan(kept).all() else kept


def _results(rows: StageRows) -> Places:
    found = np.where(rows.is_success, 0, 1).astype(np.int8)
    found[~rows.was_started] = 2
    return found
