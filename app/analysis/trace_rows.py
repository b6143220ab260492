"""The rows of a recorded trace that a plan replays, and their packed form."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.records.traffic import TraceRows

MAX_ROWS = 100_000
WINDOW_S = 3_600.0
_MICROSECONDS = 1e6

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def busiest_rows(
    at_s: Floats,
    tokens: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]] | None = None,
    max_rows: int = MAX_ROWS,
) -> TraceRows:
    """The busiest hour of a trace, or all of a shorter one. `at_s` ascends from 0 to more than 0.

    Of more than `max_rows` requests an independent random sample has rows, so that bursts keep their relative size.
    """
    span_s = float(at_s[-1])
    first, stop, window_s = 0, len(at_s), WINDOW_S
    if span_s >= WINDOW_S:
        ends = np.searchsorted(at_s, at_s + WINDOW_S, side="left")
        first = int(np.argmax(ends - np.arange(len(at_s))))
        stop = int(ends[first])
    else:
        window_s = span_s * len(at_s) / (len(at_s) - 1)  # the mean gap after the last row, so that the rate is kept
    kept = np.arange(first, stop)
    kept_share = min(1.0, max_rows / kept.size)
    if kept_share < 1.0:
        kept = np.sort(np.random.default_rng(0).choice(kept, max_rows, replace=False))
    at_us = np.minimum(np.rint((at_s[kept] - at_s[first]) * _MICROSECONDS), 2**32 - 1)
    inputs, outputs = (b"", b"") if tokens is None else (column[kept].astype("<i4").tobytes() for column in tokens)
    return TraceRows(window_s, at_us.astype("<u4").tobytes(), inputs, outputs, kept_share)


def times_s(rows: TraceRows) -> Floats:
    """Arrival times from the start of the window, ascending."""
    return np.frombuffer(rows.at_us, "<u4").astype(np.float64) / _MICROSECONDS


def token_pairs(rows: TraceRows) -> Ints | None:
    """Rows of input and output tokens, each at least 1; None where the trace has no token columns."""
    if not rows.input_tokens:
        return None
    columns = [np.frombuffer(column, "<i4").astype(np.int64) for column in (rows.input_tokens, rows.output_tokens)]
    return np.maximum(np.column_stack(columns), 1)


def rate_per_s(rows: TraceRows) -> float:
    """Mean rate of the recorded window, requests without a row included."""
    return len(rows.at_us) / 4 / rows.kept_share / rows.window_s


def invalid_rows(rows: TraceRows) -> str | None:
    """Why rows from a file that may have been edited cannot be replayed; None where they can."""
    count, rest = divmod(len(rows.at_us), 4)
    if rest or not 2 <= count <= MAX_ROWS:
        return f"traffic.rows holds {len(rows.at_us)} bytes of times, and must hold 2 to {MAX_ROWS:,} times of 4 bytes"
    if any(len(column) not in (0, len(rows.at_us)) for column in (rows.input_tokens, rows.output_tokens)):
        return "traffic.rows has columns of different lengths"
    if len(rows.input_tokens) != len(rows.output_tokens):
        return "traffic.rows has input tokens or output tokens, and must have both or neither"
    if not 0 < rows.window_s <= 2 * WINDOW_S or not 0 < rows.kept_share <= 1:
        return "traffic.rows has an impossible window_s or kept_share"
    at_s = times_s(rows)
    if (np.diff(at_s) < 0).any() or at_s[-1] > rows.window_s:
        return "traffic.rows has times that do not ascend inside of window_s"
    return None
