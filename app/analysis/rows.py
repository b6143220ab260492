"""The rows of one stage as plain arrays with normalized nulls, including the token data of streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from app.analysis.columns import (
    Categories,
    Floats,
    Mask,
    Nanoseconds,
    join_categories,
    read_categories,
    read_lists,
    read_numbers,
    read_times,
)
from app.records.result import Window
from app.records.stage import StageData

_NULL_TOKENS = 0


@dataclass(frozen=True)
class Chunks:
    """The deltas of all responses, concatenated: those of row i are from `offsets[i]` to `offsets[i + 1]`."""

    offsets: Nanoseconds
    times_ns: Nanoseconds
    tokens: npt.NDArray[np.int32] | None
    """Number of tokens in each delta, 0 if not reported by the server; None if it never reports them."""

    @property
    def counts(self) -> Nanoseconds:
        """Number of deltas of each row."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class TokenRows:
    """Token data with one entry per arrival. An unknown time is 0, an unknown count NaN."""

    first_token_ns: Nanoseconds
    first_output_ns: Nanoseconds
    last_token_ns: Nanoseconds
    first_event_ns: Nanoseconds
    complete_ns: Nanoseconds
    """Time at which the whole response had been received, including anything after the last token."""
    tokens_in: Floats
    tokens_out: Floats
    tokens_requested: Floats
    is_counted_by_chunks: Mask
    chunk_index: Nanoseconds
    """Index of each row's deltas in `chunks`."""
    chunks: Chunks | None

    def end_of_response(self, end_ns: Nanoseconds, is_success: Mask) -> Nanoseconds:
        return np.where(is_success & (self.last_token_ns > 0), self.last_token_ns, end_ns)

    def select(self, selection: Mask | Nanoseconds | slice) -> TokenRows:
        """Select rows. The chunks are shared and not copied: there may be millions of them."""
        return TokenRows(
            first_token_ns=self.first_token_ns[selection],
            first_output_ns=self.first_output_ns[selection],
            last_token_ns=self.last_token_ns[selection],
            first_event_ns=self.first_event_ns[selection],
            complete_ns=self.complete_ns[selection],
            tokens_in=self.tokens_in[selection],
            tokens_out=self.tokens_out[selection],
            tokens_requested=self.tokens_requested[selection],
            is_counted_by_chunks=self.is_counted_by_chunks[selection],
            chunk_index=self.chunk_index[selection],
            chunks=self.chunks,
        )

    def shift(self, by_ns: int) -> TokenRows:
        chunks = self.chunks
        return replace(
            self,
            first_token_ns=shift_times(self.first_token_ns, by_ns),
            first_output_ns=shift_times(self.first_output_ns, by_ns),
            last_token_ns=shift_times(self.last_token_ns, by_ns),
            first_event_ns=shift_times(self.first_event_ns, by_ns),
            complete_ns=shift_times(self.complete_ns, by_ns),
            chunks=None if chunks is None else replace(chunks, times_ns=chunks.times_ns + by_ns),
        )


def shift_times(times_ns: Nanoseconds, by_ns: int) -> Nanoseconds:
    """Shift known times; unknown ones stay 0."""
    return np.where(times_ns > 0, times_ns + by_ns, 0)


def join_tokens(parts: Sequence[TokenRows]) -> TokenRows:
    """Concatenate the token data of several stages."""
    sizes = [0 if part.chunks is None else part.chunks.counts.size for part in parts]
    index_offsets = np.cumsum([0, *sizes[:-1]])
    chunks = [part.chunks for part in parts if part.chunks is not None]
    arrays = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(TokenRows)
        if field.name not in ("chunk_index", "chunks")
    }
    place = np.concatenate(
        [part.chunk_index + index_offset for part, index_offset in zip(parts, index_offsets, strict=True)]
    )
    return TokenRows(**arrays, chunk_index=place, chunks=_join_chunks(chunks) if len(chunks) == len(parts) else None)


def _join_chunks(parts: Sequence[Chunks]) -> Chunks:
    tokens = [np.zeros(part.times_ns.size, np.int32) if part.tokens is None else part.tokens for part in parts]
    return Chunks(
        offsets=np.concatenate(([0], np.cumsum(np.concatenate([part.counts for part in parts])))),
        times_ns=np.concatenate([part.times_ns for part in parts]),
        tokens=None if all(part.tokens is None for part in parts) else np.concatenate(tokens),
    )


def read_tokens(frame: pd.DataFrame) -> TokenRows | None:
    """Read the token data of rows; None if no row has any."""
    if not any(name in frame and frame[name].notna().any() for name in ("first_token_ns", "tokens_out", "tokens_in")):
        return None
    n = len(frame)

    def times(name: str) -> Nanoseconds:
        return read_times(frame[name])[0] if name in frame else np.zeros(n, np.int64)

    def numbers(name: str) -> Floats:
        return read_numbers(frame[name]) if name in frame else np.full(n, np.nan)

    return TokenRows(
        first_token_ns=times("first_token_ns"),
        first_output_ns=times("first_output_ns"),
        last_token_ns=times("last_token_ns"),
        first_event_ns=times("first_event_ns"),
        complete_ns=times("end_ns"),
        tokens_in=numbers("tokens_in"),
        tokens_out=numbers("tokens_out"),
        tokens_requested=numbers("tokens_asked"),
        is_counted_by_chunks=_equals(frame, "tokens_from", "chunks"),
        chunk_index=np.arange(n),
        chunks=_read_chunks(frame),
    )


def _read_chunks(frame: pd.DataFrame) -> Chunks | None:
    lists = read_lists(frame["chunk_ns"], pa.int64()) if "chunk_ns" in frame else None
    if lists is None:
        return None
    lengths, times_ns = _lengths(lists), _flatten(lists)
    counts = read_lists(frame["chunk_tokens"], pa.int32()) if "chunk_tokens" in frame else None
    tokens = None if counts is None else _align_counts(counts, lengths, times_ns.size)
    return Chunks(np.concatenate(([0], np.cumsum(lengths))), times_ns, tokens)


def _align_counts(counts: pa.ListArray, lengths: Nanoseconds, total: int) -> npt.NDArray[np.int32]:
    """Align token counts with chunk times. In rows whose two lists differ in length, the counts are treated as not
    reported."""
    values = np.asarray(_flatten(counts), dtype=np.int32)
    count_lengths = _lengths(counts)
    if np.array_equal(count_lengths, lengths):
        return values
    aligned = np.zeros(total, dtype=np.int32)
    is_reported = (count_lengths == lengths) & (count_lengths > 0)
    aligned[np.repeat(is_reported, lengths)] = values[np.repeat(is_reported, count_lengths)]
    return aligned


def _lengths(lists: pa.ListArray) -> Nanoseconds:
    return np.asarray(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)


def _flatten(lists: pa.ListArray) -> npt.NDArray[Any]:
    # `flatten` skips the values behind null rows, and respects a slice's offset
    return np.asarray(lists.flatten().fill_null(_NULL_TOKENS).to_numpy(zero_copy_only=False))


def _equals(frame: pd.DataFrame, name: str, value: str) -> Mask:
    if name not in frame:
        return np.zeros(len(frame), dtype=bool)
    return np.asarray((frame[name] == value).to_numpy(dtype=bool, na_value=False))


NOT_STARTED = "not-started"


@dataclass(frozen=True)
class StageRows:
    """Rows of a stage, one entry per arrival, in the order of intended starts. An unknown time is 0, and its mask
    false.

    If no intended start is known (`has_intended` is false), `intended_ns` is the send time, so that rows can be
    ordered.
    """

    intended_ns: Nanoseconds
    sent_ns: Nanoseconds
    first_byte_ns: Nanoseconds
    end_ns: Nanoseconds
    """End of the response; for a successful stream the time of its last token, even if the connection carried more
    after it."""
    has_intended: Mask
    was_sent: Mask
    has_first_byte: Mask
    is_failed: Mask
    is_success: Mask
    error: Categories
    """Error class of each row; undefined where `is_failed` is false."""
    correct: Floats | None
    """Number of correct rows in each request's response; NaN without labels, None if no request has labels."""
    tokens: TokenRows | None
    """Token data; None if no response has any."""

    @property
    def was_started(self) -> Mask:
        """Mask of the arrivals that were started. A started arrival has a send time even if its connection failed: the
        time of the connection attempt."""
        return self.was_sent

    @property
    def has_all_intended(self) -> bool:
        return bool(self.has_intended.all())

    def count_errors(self) -> dict[str, int]:
        """Count failures by error class; arrivals that the generator never started are a class of their own."""
        counts = dict(sorted(self.error.count(self.is_failed).items()))
        not_started = int(np.count_nonzero(~self.was_started))
        return {**counts, NOT_STARTED: not_started} if not_started else counts

    def filter(self, mask: Mask) -> StageRows:
        # nearly every stage keeps all its rows, and copying millions of them costs memory
        return self if mask.all() else self._select(mask)

    def sort(self) -> StageRows:
        """Sort rows by intended start; rows already in order are not copied."""
        order = _order(self.intended_ns)
        return self if isinstance(order, slice) else self._select(order)

    def shift(self, by_ns: int) -> StageRows:
        return replace(
            self,
            intended_ns=self.intended_ns + by_ns,
            sent_ns=shift_times(self.sent_ns, by_ns),
            first_byte_ns=shift_times(self.first_byte_ns, by_ns),
            end_ns=shift_times(self.end_ns, by_ns),
            tokens=None if self.tokens is None else self.tokens.shift(by_ns),
        )

    def _select(self, selection: Mask | Nanoseconds) -> StageRows:
        return StageRows(
            **{name: getattr(self, name)[selection] for name in _ARRAYS},
            error=self.error.select(selection),
            correct=None if self.correct is None else self.correct[selection],
            tokens=None if self.tokens is None else self.tokens.select(selection),
        )


_ARRAYS = tuple(field.name for field in fields(StageRows) if field.name not in ("error", "correct", "tokens"))


def join_rows(parts: Sequence[StageRows]) -> StageRows:
    """Concatenate the rows of several stages as those of one."""
    token_parts = [part.tokens for part in parts if part.tokens is not None]
    right = [np.full(len(part.intended_ns), np.nan) if part.correct is None else part.correct for part in parts]
    return StageRows(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS},
        error=join_categories([part.error for part in parts]),
        correct=None if all(part.correct is None for part in parts) else np.concatenate(right),
        tokens=join_tokens(token_parts) if len(token_parts) == len(parts) else None,
    ).sort()


def read_rows(rows: pd.DataFrame | pa.Table) -> StageRows:
    """Read the rows of one stage, in any order, from columns in the wire format.

    Columns that the first version of the format lacks may be missing.
    """
    frame = rows.to_pandas(types_mapper=pd.ArrowDtype) if isinstance(rows, pa.Table) else rows
    intended_ns, has_intended = read_times(frame["intended_ns"])
    if not has_intended.all():
        intended_ns = np.where(has_intended, intended_ns, read_times(frame["sent_ns"])[0])
    order = _order(intended_ns)

    def times(name: str) -> tuple[Nanoseconds, Mask]:
        values, known = read_times(frame[name])
        return values[order], known[order]

    sent_ns, was_sent = times("sent_ns")
    first_byte_ns, has_first_byte = times("first_byte_ns")
    end_ns, has_end = times("end_ns")
    error, tokens = read_categories(frame["error"]).select(order), read_tokens(frame)
    # an arrival that the end of the drain cut off before its start has an error, but is not a failure of the target
    is_failed = error.is_known & was_sent
    is_success = was_sent & has_end & ~is_failed
    if tokens is not None:
        tokens = tokens.select(order)
        end_ns = tokens.end_of_response(end_ns, is_success)
    has_labels = "right" in frame and frame["right"].notna().any()
    return StageRows(
        intended_ns=intended_ns[order],
        sent_ns=sent_ns,
        first_byte_ns=first_byte_ns,
        end_ns=end_ns,
        has_intended=has_intended[order],
        was_sent=was_sent,
        has_first_byte=has_first_byte,
        is_failed=is_failed,
        is_success=is_success,
        error=error,
        correct=read_numbers(frame["right"])[order] if has_labels else None,
        tokens=tokens,
    )


def _order(intended_ns: Nanoseconds) -> Nanoseconds | slice:
    """Return the order by intended start; if the rows are already in order, a full slice, which copies nothing."""
    is_in_order = np.all(intended_ns[1:] >= intended_ns[:-1])
    return slice(None) if is_in_order else np.argsort(intended_ns, kind="stable")


def compute_offered_window(rows: StageRows, facts: StageData) -> Window:
    """Return the window in which load was offered: the stage's duration from its start, without lead-in and drain.

    A stage stopped early was offered load until the last arrival that was started.
    """
    end_ns = facts.start_ns + round(facts.duration_s * 1e9)
    if facts.stopped_early:
        started_ns = rows.intended_ns[rows.was_started]
        end_ns = min(end_ns, int(started_ns[-1]) + 1 if started_ns.size else facts.end_ns)
    return Window(facts.start_ns, max(end_ns, facts.start_ns))
