"""Request rows of one stage as NumPy arrays with normalized nulls, including the token data of
streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.analysis.columns import (
    Categories,
    Floats,
    Ints,
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

if TYPE_CHECKING:
    import pandas as pd

_NULL_FILL_VALUE = 0


@dataclass(frozen=True)
class Chunks:
    """All chunks of all responses, concatenated. The chunks of row i have the indices `offsets[i]`
    to `offsets[i + 1] - 1`."""

    offsets: Ints
    times_ns: Nanoseconds
    tokens: npt.NDArray[np.int32] | None
    """Number of tokens in each chunk, 0 where the server did not report a number; `None` if the
    server never reports one."""

    @property
    def counts(self) -> Ints:
        """Number of chunks of each row."""
        return np.diff(self.offsets)

    def sum_tokens(self) -> Floats:
        """Return the number of tokens in the chunks of each row; NaN if the server did not report
        the number of one of them."""
        if self.tokens is None:
            return np.full(self.counts.size, np.nan)
        totals, unreported_counts = (
            np.concatenate(([0], np.cumsum(values))) for values in (self.tokens, self.tokens <= 0)
        )
        is_reported = unreported_counts[self.offsets[1:]] == unreported_counts[self.offsets[:-1]]
        return np.where(is_reported, (totals[self.offsets[1:]] - totals[self.offsets[:-1]]).astype(np.float64), np.nan)


@dataclass(frozen=True)
class TokenRows:
    """Token data with one entry per request. An unknown timestamp is 0; an unknown count is NaN."""

    first_token_ns: Nanoseconds
    first_output_ns: Nanoseconds
    last_token_ns: Nanoseconds
    first_event_ns: Nanoseconds
    complete_ns: Nanoseconds
    """Time in ns at which the whole response had been received, including data after the last
    token."""
    tokens_in: Floats
    tokens_out: Floats
    tokens_requested: Floats
    tokens_cached: Floats
    tokens_reasoning: Floats
    server_queue_ms: Floats
    server_prefill_ms: Floats
    server_decode_ms: Floats
    is_counted_by_chunks: Mask
    chunk_index: Ints
    """Index of each request in `chunks.offsets`, which selects the chunks of its response."""
    chunks: Chunks | None

    def compute_response_end_ns(self, end_ns: Nanoseconds, is_success: Mask) -> Nanoseconds:
        return np.where(is_success & (self.last_token_ns > 0), self.last_token_ns, end_ns)

    @property
    def has_messages(self) -> bool:
        """Whether the chunks are messages of a stream that has no tokens."""
        if self.chunks is None or np.any(self.first_token_ns > 0):
            return False
        return bool(np.any(self.chunks.counts[self.chunk_index]))

    def find_first_message_ns(self) -> Nanoseconds:
        """Return the time of the first message of each response; 0 if there is none."""
        if self.chunks is None or not self.has_messages:
            return np.zeros(self.chunk_index.size, np.int64)
        has_message = self.chunks.counts[self.chunk_index] > 0
        first_indices = np.where(has_message, self.chunks.offsets[self.chunk_index], 0)
        return np.where(has_message, self.chunks.times_ns[first_indices], 0)

    def select(self, selection: Mask | Ints | slice) -> TokenRows:
        """Select requests by index or mask. The chunks (possibly millions) are shared instead of
        copied."""
        arrays = {name: getattr(self, name)[selection] for name in _TOKEN_ARRAY_FIELDS}
        return TokenRows(**arrays, chunks=self.chunks)

    def shift(self, shift_ns: int) -> TokenRows:
        chunks = self.chunks
        return replace(
            self,
            first_token_ns=shift_times(self.first_token_ns, shift_ns),
            first_output_ns=shift_times(self.first_output_ns, shift_ns),
            last_token_ns=shift_times(self.last_token_ns, shift_ns),
            first_event_ns=shift_times(self.first_event_ns, shift_ns),
            complete_ns=shift_times(self.complete_ns, shift_ns),
            chunks=None if chunks is None else replace(chunks, times_ns=chunks.times_ns + shift_ns),
        )


_TOKEN_ARRAY_FIELDS = tuple(field.name for field in fields(TokenRows) if field.name != "chunks")


def shift_times(times_ns: Nanoseconds, shift_ns: int) -> Nanoseconds:
    """Shift known timestamps by `shift_ns`; unknown timestamps remain 0."""
    return np.where(times_ns > 0, times_ns + shift_ns, 0)


def join_tokens(stages_tokens: Sequence[TokenRows]) -> TokenRows:
    """Concatenate the token data of several stages."""
    row_counts = [0 if rows.chunks is None else rows.chunks.counts.size for rows in stages_tokens]
    index_offsets = np.cumsum([0, *row_counts[:-1]])
    chunks = [rows.chunks for rows in stages_tokens if rows.chunks is not None]
    arrays = {
        field.name: np.concatenate([getattr(rows, field.name) for rows in stages_tokens])
        for field in fields(TokenRows)
        if field.name not in ("chunk_index", "chunks")
    }
    chunk_index = np.concatenate(
        [rows.chunk_index + index_offset for rows, index_offset in zip(stages_tokens, index_offsets, strict=True)]
    )
    return TokenRows(
        **arrays, chunk_index=chunk_index, chunks=_join_chunks(chunks) if len(chunks) == len(stages_tokens) else None
    )


def _join_chunks(stages_chunks: Sequence[Chunks]) -> Chunks:
    tokens = [
        np.zeros(chunks.times_ns.size, np.int32) if chunks.tokens is None else chunks.tokens for chunks in stages_chunks
    ]
    return Chunks(
        offsets=np.concatenate(([0], np.cumsum(np.concatenate([chunks.counts for chunks in stages_chunks])))),
        times_ns=np.concatenate([chunks.times_ns for chunks in stages_chunks]),
        tokens=None if all(chunks.tokens is None for chunks in stages_chunks) else np.concatenate(tokens),
    )


_TOKEN_COLUMNS = ("first_token_ns", "tokens_out", "tokens_in", "chunk_ns")


def read_tokens(frame: pd.DataFrame) -> TokenRows | None:
    """Read the token data of request rows; `None` if no row has token data."""
    if not any(name in frame and frame[name].notna().any() for name in _TOKEN_COLUMNS):
        return None
    read_column_times, read_column_numbers = partial(_read_times, frame), partial(_read_numbers, frame)
    return TokenRows(
        first_token_ns=read_column_times("first_token_ns"),
        first_output_ns=read_column_times("first_output_ns"),
        last_token_ns=read_column_times("last_token_ns"),
        first_event_ns=read_column_times("first_event_ns"),
        complete_ns=read_column_times("end_ns"),
        tokens_in=read_column_numbers("tokens_in"),
        tokens_out=read_column_numbers("tokens_out"),
        tokens_requested=read_column_numbers("max_output_tokens"),
        tokens_cached=read_column_numbers("tokens_cached"),
        tokens_reasoning=read_column_numbers("tokens_reasoning"),
        server_queue_ms=read_column_numbers("server_queue_ms"),
        server_prefill_ms=read_column_numbers("server_prefill_ms"),
        server_decode_ms=read_column_numbers("server_decode_ms"),
        is_counted_by_chunks=_is_equal_to(frame, "token_source", "chunks"),
        chunk_index=np.arange(len(frame)),
        chunks=_read_chunks(frame),
    )


def _read_times(frame: pd.DataFrame, name: str) -> Nanoseconds:
    return read_times(frame[name])[0] if name in frame else np.zeros(len(frame), np.int64)


def _read_numbers(frame: pd.DataFrame, name: str) -> Floats:
    return read_numbers(frame[name]) if name in frame else np.full(len(frame), np.nan)


def _read_chunks(frame: pd.DataFrame) -> Chunks | None:
    lists = read_lists(frame["chunk_ns"], pa.int64()) if "chunk_ns" in frame else None
    if lists is None:
        return None
    lengths, times_ns = _get_lengths(lists), _flatten(lists)
    counts = read_lists(frame["chunk_tokens"], pa.int32()) if "chunk_tokens" in frame else None
    tokens = None if counts is None else _align_counts(counts, lengths, times_ns.size)
    return Chunks(np.concatenate(([0], np.cumsum(lengths))), times_ns, tokens)


def _align_counts(counts: pa.ListArray, lengths: Ints, size: int) -> npt.NDArray[np.int32]:
    """Align token counts with chunk timestamps. Where the two lists of a row differ in length, the
    token counts of that row are treated as not reported."""
    values = np.asarray(_flatten(counts), dtype=np.int32)
    count_lengths = _get_lengths(counts)
    if np.array_equal(count_lengths, lengths):
        return values
    aligned_counts = np.zeros(size, dtype=np.int32)
    is_reported = (count_lengths == lengths) & (count_lengths > 0)
    aligned_counts[np.repeat(is_reported, lengths)] = values[np.repeat(is_reported, count_lengths)]
    return aligned_counts


def _get_lengths(lists: pa.ListArray) -> Ints:
    return np.asarray(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)


def _flatten(lists: pa.ListArray) -> npt.NDArray[Any]:
    # `flatten` skips the values of null rows, and respects the offset of a slice
    return np.asarray(lists.flatten().fill_null(_NULL_FILL_VALUE).to_numpy(zero_copy_only=False))


def _is_equal_to(frame: pd.DataFrame, name: str, value: str) -> Mask:
    if name not in frame:
        return np.zeros(len(frame), dtype=bool)
    return np.asarray((frame[name] == value).to_numpy(dtype=bool, na_value=False))


@dataclass(frozen=True)
class MediaRows:
    """Audio and images with one entry per request. An unknown timestamp is 0; an unknown duration or
    number is NaN."""

    input_end_ns: Nanoseconds
    first_audio_ns: Nanoseconds
    audio_durations_s: Floats
    image_counts: Floats

    def select(self, selection: Mask | Ints | slice) -> MediaRows:
        return MediaRows(**{field.name: getattr(self, field.name)[selection] for field in fields(MediaRows)})

    def shift(self, shift_ns: int) -> MediaRows:
        return replace(
            self,
            input_end_ns=shift_times(self.input_end_ns, shift_ns),
            first_audio_ns=shift_times(self.first_audio_ns, shift_ns),
        )


def _read_media(frame: pd.DataFrame) -> MediaRows | None:
    """Read the audio and images of request rows; `None` if no row has any."""
    if not any(name in frame and frame[name].notna().any() for name in ("first_audio_ns", "audio_s", "images")):
        return None
    return MediaRows(
        _read_times(frame, "input_end_ns"),
        _read_times(frame, "first_audio_ns"),
        _read_numbers(frame, "audio_s"),
        _read_numbers(frame, "images"),
    )


def _join_media(stages_rows: Sequence[StageRows]) -> MediaRows | None:
    if all(rows.media is None for rows in stages_rows):
        return None
    media = [rows.media or _build_empty_media(len(rows.scheduled_ns)) for rows in stages_rows]
    return MediaRows(*(np.concatenate([getattr(part, field.name) for part in media]) for field in fields(MediaRows)))


def _build_empty_media(row_count: int) -> MediaRows:
    no_times, no_values = np.zeros(row_count, np.int64), np.full(row_count, np.nan)
    return MediaRows(no_times, no_times, no_values, no_values)


NOT_STARTED = "not-started"


@dataclass(frozen=True)
class StageRows:
    """Rows of a stage as arrays, with one entry per request, in order of scheduled start. An
    unknown timestamp is 0, and the corresponding mask is false.

    `has_scheduled_start` is false for requests without a scheduled start. If no request has one,
    `scheduled_ns` contains the send time, so that rows can be ordered."""

    scheduled_ns: Nanoseconds
    sent_ns: Nanoseconds
    first_byte_ns: Nanoseconds
    end_ns: Nanoseconds
    """Time in ns at which the response ended; for a successful stream, the time of the last token,
    even if more data followed."""
    has_scheduled_start: Mask
    was_sent: Mask
    has_first_byte: Mask
    is_failed: Mask
    is_success: Mask
    error: Categories
    """Error class of each row; undefined where `is_failed` is false."""
    correct_counts: Floats | None
    """Number of correct rows in the response to each request; NaN for requests without labels,
    `None` if no request has labels."""
    tokens: TokenRows | None
    """Token data of the stage; `None` if no response has token data."""
    connection_wait_ms: Floats
    """Time for which each request waited for a connection; NaN if unknown."""
    classes: Categories | None = None
    """Class of each request; `None` if the requests have no classes. The names are numbers until
    `name_classes` is called."""
    media: MediaRows | None = None
    """Audio and images of the stage; `None` if no request has any."""

    @property
    def was_started(self) -> Mask:
        """Mask of the requests that were started. A request whose connection failed counts as
        started: its send time is the time of the connection attempt."""
        return self.was_sent

    @property
    def has_all_scheduled_starts(self) -> bool:
        return bool(self.has_scheduled_start.all())

    def count_errors(self) -> dict[str, int]:
        """Count the failed requests by error class. Requests that the load generator never started
        are a separate class."""
        counts = dict(sorted(self.error.count(self.is_failed).items()))
        not_started_count = int(np.count_nonzero(~self.was_started))
        return {**counts, NOT_STARTED: not_started_count} if not_started_count else counts

    def name_classes(self, names: Sequence[str]) -> StageRows:
        """Return the rows with the names of the classes, in the order of their numbers. A number
        without a name counts as no class."""
        if self.classes is None or self.classes.categories == tuple(names):
            return self
        codes = np.where(self.classes.codes < len(names), self.classes.codes, -1).astype(np.int32)
        return replace(self, classes=Categories(codes, tuple(names)) if names else None)

    def filter(self, mask: Mask) -> StageRows:
        # usually no row is filtered out, and copying millions of rows costs memory
        return self if mask.all() else self._select(mask)

    def sort(self) -> StageRows:
        """Sort the rows by scheduled start; rows that are already in order are not copied."""
        order = _compute_order(self.scheduled_ns)
        return self if isinstance(order, slice) else self._select(order)

    def shift(self, shift_ns: int) -> StageRows:
        return replace(
            self,
            scheduled_ns=self.scheduled_ns + shift_ns,
            sent_ns=shift_times(self.sent_ns, shift_ns),
            first_byte_ns=shift_times(self.first_byte_ns, shift_ns),
            end_ns=shift_times(self.end_ns, shift_ns),
            tokens=None if self.tokens is None else self.tokens.shift(shift_ns),
            media=None if self.media is None else self.media.shift(shift_ns),
        )

    def _select(self, selection: Mask | Ints) -> StageRows:
        return StageRows(
            **{name: getattr(self, name)[selection] for name in _ARRAY_FIELDS},
            error=self.error.select(selection),
            correct_counts=None if self.correct_counts is None else self.correct_counts[selection],
            tokens=None if self.tokens is None else self.tokens.select(selection),
            classes=None if self.classes is None else self.classes.select(selection),
            media=None if self.media is None else self.media.select(selection),
        )


_ARRAY_FIELDS = tuple(
    field.name
    for field in fields(StageRows)
    if field.name not in ("error", "correct_counts", "tokens", "classes", "media")
)


def join_rows(stages_rows: Sequence[StageRows]) -> StageRows:
    """Concatenate the rows of several stages, and sort them by scheduled start."""
    stages_tokens = [rows.tokens for rows in stages_rows if rows.tokens is not None]
    correct_counts = [
        np.full(len(rows.scheduled_ns), np.nan) if rows.correct_counts is None else rows.correct_counts
        for rows in stages_rows
    ]
    return StageRows(
        **{name: np.concatenate([getattr(rows, name) for rows in stages_rows]) for name in _ARRAY_FIELDS},
        error=join_categories([rows.error for rows in stages_rows]),
        correct_counts=None
        if all(rows.correct_counts is None for rows in stages_rows)
        else np.concatenate(correct_counts),
        tokens=join_tokens(stages_tokens) if len(stages_tokens) == len(stages_rows) else None,
        classes=_join_classes(stages_rows),
        media=_join_media(stages_rows),
    ).sort()


def _join_classes(stages_rows: Sequence[StageRows]) -> Categories | None:
    if all(rows.classes is None for rows in stages_rows):
        return None
    return join_categories(
        [rows.classes or Categories(np.full(len(rows.scheduled_ns), -1, np.int32), ()) for rows in stages_rows]
    )


_REQUIRED_COLUMNS = ("scheduled_ns", "sent_ns", "first_byte_ns", "end_ns", "error")
"""Columns of the first version of the wire format that are read even if all rows are null."""


def _convert_to_frame(rows: pa.Table) -> pd.DataFrame:
    """Convert rows to a data frame without the columns that are all null, which are read as if they
    were missing: each column of a data frame takes time."""
    from pandas import ArrowDtype  # deferred, because the import would delay every plan

    names = [name for name in rows.column_names if name in _REQUIRED_COLUMNS or rows[name].null_count < rows.num_rows]
    frame: pd.DataFrame = rows.select(names).to_pandas(types_mapper=ArrowDtype, use_threads=False)
    return frame


def read_rows(rows: pd.DataFrame | pa.Table) -> StageRows:
    """Read the rows of one stage, in any order, from columns in the wire format. Columns that are
    not part of the first version of the format may be missing."""
    frame = _convert_to_frame(rows) if isinstance(rows, pa.Table) else rows
    scheduled_ns, has_scheduled_start = read_times(frame["scheduled_ns"])
    if not has_scheduled_start.all():
        scheduled_ns = np.where(has_scheduled_start, scheduled_ns, read_times(frame["sent_ns"])[0])
    order = _compute_order(scheduled_ns)

    def read_column_times(name: str) -> tuple[Nanoseconds, Mask]:
        values, is_present = read_times(frame[name])
        return values[order], is_present[order]

    sent_ns, was_sent = read_column_times("sent_ns")
    first_byte_ns, has_first_byte = read_column_times("first_byte_ns")
    end_ns, has_end = read_column_times("end_ns")
    error, tokens = read_categories(frame["error"]).select(order), read_tokens(frame)
    # a request that was not started before the end of the drain has an error, but is not a failure
    # of the target
    is_failed = error.is_known & was_sent
    is_success = was_sent & has_end & ~is_failed
    if tokens is not None:
        tokens = tokens.select(order)
        end_ns = tokens.compute_response_end_ns(end_ns, is_success)
    media = _read_media(frame)
    has_labels = "correct_rows" in frame and frame["correct_rows"].notna().any()
    return StageRows(
        scheduled_ns=scheduled_ns[order],
        sent_ns=sent_ns,
        first_byte_ns=first_byte_ns,
        end_ns=end_ns,
        has_scheduled_start=has_scheduled_start[order],
        was_sent=was_sent,
        has_first_byte=has_first_byte,
        is_failed=is_failed,
        is_success=is_success,
        error=error,
        correct_counts=read_numbers(frame["correct_rows"])[order] if has_labels else None,
        tokens=tokens,
        classes=_read_classes(frame, order),
        media=None if media is None else media.select(order),
        connection_wait_ms=_read_numbers(frame, "connection_wait_ms")[order],
    )


def _read_classes(frame: pd.DataFrame, order: Ints | slice) -> Categories | None:
    if "class" not in frame or not frame["class"].notna().any():
        return None
    codes = np.maximum(frame["class"].to_numpy(dtype=np.int32, na_value=-1)[order], -1)
    return Categories(codes, tuple(map(str, range(int(codes.max()) + 1))))


def _compute_order(scheduled_ns: Nanoseconds) -> Ints | slice:
    """Return the row indices in order of scheduled start. If the rows are already in order, return
    a full slice, which avoids copying."""
    is_in_order = np.all(scheduled_ns[1:] >= scheduled_ns[:-1])
    return slice(None) if is_in_order else np.argsort(scheduled_ns, kind="stable")


def compute_offered_window(rows: StageRows, stage_data: StageData) -> Window:
    """Return the window in which load was offered: the stage without its lead-in and drain.

    If the stage was stopped early, the window ends with the scheduled start of the last started
    request."""
    end_ns = stage_data.start_ns + round(stage_data.duration_s * 1e9)
    if stage_data.stopped_early and stage_data.kind != "batch":
        started_ns = rows.scheduled_ns[rows.was_started]
        end_ns = min(end_ns, int(started_ns[-1]) + 1 if started_ns.size else stage_data.end_ns)
    return Window(stage_data.start_ns, max(end_ns, stage_data.start_ns))
