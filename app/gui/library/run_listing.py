"""Table of the stored runs: its DataFrame, cell formats and filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from app.gui.formatting import NOT_AVAILABLE, format_clock_time, format_duration, format_money, format_size, shorten
from app.reporting.run_history import RunHistory, build_run_histories
from app.reporting.run_rows import Listing, RunRow, build_search_text
from reports.formatting import format_number, with_unit

COLUMNS = ("name", "when", "target", "outcome", "validity", "max_rate", "latency_p95", "ttft_p95", "trend", "cost",
           "duration", "size", "tags")  # fmt: skip
INITIALLY_HIDDEN_COLUMNS = frozenset({"duration", "size"})


class ListedRuns(msgspec.Struct, frozen=True):
    """Stored runs as a table. `frame` and `search_texts` have one entry per run.
    `unread_count` is the number of runs that have not been read yet."""

    rows: tuple[RunRow, ...]
    unread_count: int
    frame: pd.DataFrame
    search_texts: tuple[str, ...]
    histories: dict[str, RunHistory]
    """History of the headline number of each run that has one, by run directory."""

    @property
    def bytes_on_disk(self) -> int:
        return sum(row.size_bytes for row in self.rows)


def build_listing(listing: Listing, baseline_directories: Mapping[str, str] | None = None) -> ListedRuns:
    """Build the table of stored runs. `baseline_directories` maps profile names to the directories of
    promoted runs. This function can be called from any thread."""
    histories = build_run_histories(listing.rows, baseline_directories or {})
    return ListedRuns(
        listing.rows,
        listing.unread,
        build_frame(listing.rows, histories),
        tuple(map(build_search_text, listing.rows)),
        histories,
    )


def build_frame(rows: Sequence[RunRow], histories: Mapping[str, RunHistory]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": [shorten(row.label) for row in rows],
            "when": [row.started_at for row in rows],
            "target": [None if row.protocol is None else shorten(row.url or row.model or row.protocol) for row in rows],
            "outcome": [row.outcome for row in rows],
            "validity": [row.verdict or row.state for row in rows],
            "max_rate": np.array([_get_max_rate(row) for row in rows], dtype=np.float64),
            "latency_p95": np.array([row.latency_p95_ms for row in rows], dtype=np.float64),
            "ttft_p95": np.array([row.ttft_p95_ms for row in rows], dtype=np.float64),
            "trend": np.array([_compute_last_change(histories.get(row.directory)) for row in rows], dtype=np.float64),
            "cost": np.array([row.usd_per_month for row in rows], dtype=np.float64),
            "duration": np.array([row.duration_s for row in rows], dtype=np.float64),
            "size": [row.size_bytes for row in rows],
            "tags": [", ".join(row.tags) for row in rows],
        },
        columns=list(COLUMNS),
    )


def _get_max_rate(row: RunRow) -> float | None:
    """Return the number in `max_rate_text`."""
    return None if row.max_rate_text is None or row.number is None else row.number.estimate.value


def _compute_last_change(history: RunHistory | None) -> float:
    """Return the relative change of the number of a run since the previous comparable run; NaN
    without one."""
    if history is None or len(history.values) < 2 or history.values[-2] == 0:
        return np.nan
    return history.values[-1] / history.values[-2] - 1


def build_mask(
    listed_runs: ListedRuns, search_text: str, validity: str | None, tag: str | None
) -> npt.NDArray[np.bool_] | None:
    """Return a boolean mask of the rows that match all filters, with the same rules as
    `app.reporting.run_rows.filter_rows`.

    Return None if no filter is set.
    """
    terms = search_text.casefold().split()
    if not terms and validity is None and tag is None:
        return None
    return np.fromiter(
        (
            (validity in (None, row.verdict))
            and (tag is None or tag in row.tags)
            and all(term in text for term in terms)
            for row, text in zip(listed_runs.rows, listed_runs.search_texts, strict=True)
        ),
        dtype=bool,
        count=len(listed_runs.rows),
    )


HEADERS = {
    "name": "Run",
    "when": "Started",
    "target": "Target",
    "outcome": "Outcome",
    "validity": "Validity",
    "max_rate": "Max rate",
    "latency_p95": "p95 latency",
    "ttft_p95": "p95 TTFT",
    "trend": "Trend",
    "cost": "Cost per month",
    "duration": "Duration",
    "tags": "Tags",
    "size": "Size",
}


def format_time(value: object) -> str:
    return format_clock_time(value) if isinstance(value, str) else NOT_AVAILABLE


def format_latency(value: object) -> str:
    """Format a latency in ms; a run without such a latency has an empty cell."""
    return with_unit(format_number(value), "ms") if isinstance(value, float) and value == value else ""


def format_last_change(value: object) -> str:
    """Format the change since the previous comparable run for screen readers; empty without one."""
    return f"{100 * value:+.1f} % since the previous run" if isinstance(value, float) and value == value else ""


def format_cost(value: object) -> str:
    """Format a monthly cost; a run without a stored plan has an empty cell."""
    return f"${format_money(value)}" if isinstance(value, float) and value == value else ""


def format_run_duration(value: object) -> str:
    return format_duration(value) if isinstance(value, float) and value == value else ""


def format_bytes(value: object) -> str:
    return format_size(int(value)) if isinstance(value, int | float) and value == value else NOT_AVAILABLE
