"""Table of all requests of a run, slowest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from app.analysis.breakdown import break_down_request
from app.analysis.columns import Floats, Mask
from app.analysis.rows import NOT_STARTED, StageRows, read_rows
from app.analysis.spans import compute_durations_ms
from app.reporting.load import build_breakdown_row
from reports.model import BreakdownRow

if TYPE_CHECKING:
    import pyarrow as pa

    from app.reporting.opened import OpenedRun

_CHUNK_COLUMNS = ("chunk_ns", "chunk_tokens")
_DURATION_COLUMNS = ("latency_ms", "service_ms", "ttft_ms", "tpot_ms", "send_lag_ms")
OK, FAILED = "ok", "failed"
IntArray = npt.NDArray[Any]


def requests_frame(run: OpenedRun) -> pd.DataFrame:
    """Return the table of requests as a DataFrame.

    `at_s` is the scheduled start, in seconds from the start of the run. `number` is the position of
    the request in its stage, as in `sizewise explain --request`. Columns without any value are
    omitted. The index contains the rows of `run.table`.
    """
    table = run.table.drop_columns([name for name in _CHUNK_COLUMNS if name in run.table.column_names])
    if table.num_rows == 0:
        return pd.DataFrame({"at_s": np.empty(0)})
    classes = next((stage_data.classes for stage_data in run.data.stage_data if stage_data.classes), ())
    rows = read_rows(table).name_classes([request_class.name for request_class in classes])
    row_order = _compute_row_order(table)
    stage_names = {stage_data.index: stage_data.name for stage_data in run.data.stage_data}
    stage_indices = table["stage"].to_numpy()[row_order]
    columns: dict[str, object] = {
        "at_s": (rows.scheduled_ns - run.result.time_zero_ns) / 1e9,
        "stage": _build_stage_names(stage_indices, stage_names),
        "number": pd.Series(stage_indices).groupby(stage_indices).cumcount().to_numpy(),
    }
    if rows.classes is not None:
        columns["class"] = _build_categorical(rows.classes.codes, rows.classes.categories)
    for name in _DURATION_COLUMNS:
        values_ms = compute_durations_ms(rows, name)
        if values_ms is not None and (valid_ms := _mask_invalid_values(values_ms, rows, name)) is not None:
            columns[name] = valid_ms
    columns["result"] = _build_categorical(_compute_result_codes(rows), [OK, FAILED, NOT_STARTED])
    status = table["status"]
    if status.null_count < len(status):
        columns["status"] = status.to_pandas().to_numpy(dtype=np.float64, na_value=np.nan)[row_order]
    columns["error"] = _build_categorical(np.where(rows.is_failed, rows.error.codes, -1), rows.error.categories)
    frame = pd.DataFrame(columns, index=row_order)
    sort_column = next((name for name in ("latency_ms", "service_ms") if name in frame), "at_s")
    return frame.sort_values(sort_column, ascending=False, na_position="last", kind="stable")


def break_down_row(run: OpenedRun, table_row: int) -> BreakdownRow | None:
    """Break down the latency of the request in a row of `run.table`. Return None if the request
    failed."""
    table = run.table.slice(table_row, 1)
    rows, stage_index = read_rows(table), table["stage"][0].as_py()
    round_trips_ms = {stage_data.index: stage_data.round_trip_ms for stage_data in run.data.stage_data}
    if not rows.is_success[0]:
        return None
    return build_breakdown_row(break_down_request(rows, 0, round_trips_ms.get(stage_index)))


def build_mask(
    frame: pd.DataFrame, stage: str | None, result: str | None, error: str | None, min_latency_ms: float | None
) -> Mask | None:
    """Return a boolean mask of the rows that match all filters, or None if no filter is set.

    `min_latency_ms` is the minimum latency in ms. Requests without a latency do not match this
    filter.
    """
    column_filters = [("stage", stage), ("result", result), ("error", error)]
    masks = [_build_category_mask(frame[name], value) for name, value in column_filters if value is not None]
    latency_column = next((name for name in ("latency_ms", "service_ms") if name in frame), None)
    if min_latency_ms is not None and latency_column is not None:
        with np.errstate(invalid="ignore"):
            masks.append(frame[latency_column].to_numpy() >= min_latency_ms)
    return np.logical_and.reduce(masks) if masks else None


def _build_category_mask(column: pd.Series, value: str) -> Mask:
    categories = list(column.cat.categories)
    return np.asarray(column.cat.codes.to_numpy() == (categories.index(value) if value in categories else -2))


def _build_categorical(codes: IntArray, categories: Sequence[str]) -> pd.Categorical:
    return pd.Categorical.from_codes(codes, pd.Index(list(categories), dtype=object))


def _compute_row_order(table: pa.Table) -> IntArray:
    """Return the row order that `read_rows` uses, as indices of table rows."""
    import pyarrow.compute as pc

    starts_ns = pc.coalesce(table["scheduled_ns"], table["sent_ns"]).fill_null(0).to_numpy()
    return np.argsort(starts_ns, kind="stable")


def _build_stage_names(stage_indices: IntArray, names_by_index: dict[int, str]) -> pd.Categorical:
    """Return the stage name of each row. All repeats of a stage have the same name."""
    indices = sorted(set(stage_indices.tolist()))
    categories = list(dict.fromkeys(names_by_index.get(index, f"stage {index} (interrupted)") for index in indices))
    codes_by_index = {
        index: categories.index(names_by_index.get(index, f"stage {index} (interrupted)")) for index in indices
    }
    codes = np.full(max(indices, default=0) + 1, -1, dtype=np.int32)
    codes[indices] = [codes_by_index[index] for index in indices]
    return _build_categorical(codes[stage_indices], categories)


def _mask_invalid_values(values_ms: Floats, rows: StageRows, name: str) -> Floats | None:
    """Replace the values of failed requests with NaN. For the send lag, only the values of requests
    that were not sent are replaced. Return None if no value remains."""
    has_value = rows.was_sent if name == "send_lag_ms" else rows.is_success
    valid_ms = np.where(has_value, values_ms, np.nan)
    return None if np.isnan(valid_ms).all() else valid_ms


def _compute_result_codes(rows: StageRows) -> IntArray:
    codes = np.where(rows.is_success, 0, 1).astype(np.int8)
    codes[~rows.was_started] = 2
    return codes
