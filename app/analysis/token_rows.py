"""What the rows of one stage tell of tokens, as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from app.analysis.columns import Floats, Mask, Nanoseconds, known_lists, known_numbers, known_times

_NULL_TOKENS = 0


@dataclass(frozen=True)
class Chunks:
    """The deltas of all answers, one after the other: those of row i from `offsets[i]` to `offsets[i + 1]`."""

    offsets: Nanoseconds
    times_ns: Nanoseconds
    tokens: npt.NDArray[np.int32] | None
    """How many were in each, 0 where the server does not say; None where it never does."""

    @property
    def counts(self) -> Nanoseconds:
        """Deltas of each row."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class TokenRows:
    """One entry an arrival. A time that is not known is 0, a count that is not is NaN."""

    first_token_ns: Nanoseconds
    first_output_ns: Nanoseconds
    last_token_ns: Nanoseconds
    first_event_ns: Nanoseconds
    whole_ns: Nanoseconds
    """When the connection had brought all of the answer: what comes after the last token is in it."""
    tokens_in: Floats
    tokens_out: Floats
    tokens_asked: Floats
    is_counted_by_chunks: Mask
    place: Nanoseconds
    """Where in `chunks` its deltas stand."""
    chunks: Chunks | None

    def end_of_answer(self, end_ns: Nanoseconds, is_success: Mask) -> Nanoseconds:
        return np.where(is_success & (self.last_token_ns > 0), self.last_token_ns, end_ns)

    def taken(self, which: Mask | Nanoseconds | slice) -> TokenRows:
        """The chunks stay where they are: millions of them cost memory to move."""
        return TokenRows(
            first_token_ns=self.first_token_ns[which],
            first_output_ns=self.first_output_ns[which],
            last_token_ns=self.last_token_ns[which],
            first_event_ns=self.first_event_ns[which],
            whole_ns=self.whole_ns[which],
            tokens_in=self.tokens_in[which],
            tokens_out=self.tokens_out[which],
            tokens_asked=self.tokens_asked[which],
            is_counted_by_chunks=self.is_counted_by_chunks[which],
            place=self.place[which],
            chunks=self.chunks,
        )

    def later(self, by_ns: int) -> TokenRows:
        chunks = self.chunks
        return replace(
            self,
            first_token_ns=moved(self.first_token_ns, by_ns),
            first_output_ns=moved(self.first_output_ns, by_ns),
            last_token_ns=moved(self.last_token_ns, by_ns),
            first_event_ns=moved(self.first_event_ns, by_ns),
            whole_ns=moved(self.whole_ns, by_ns),
            chunks=None if chunks is None else replace(chunks, times_ns=chunks.times_ns + by_ns),
        )


def moved(times_ns: Nanoseconds, by_ns: int) -> Nanoseconds:
    """The known times, later; unknown ones stay 0."""
    return np.where(times_ns > 0, times_ns + by_ns, 0)


def joined_tokens(parts: Sequence[TokenRows]) -> TokenRows:
    """Those of several stages, one after the other."""
    sizes = [0 if part.chunks is None else part.chunks.counts.size for part in parts]
    before = np.cumsum([0, *sizes[:-1]])
    chunks = [part.chunks for part in parts if part.chunks is not None]
    arrays = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(TokenRows)
        if field.name not in ("place", "chunks")
    }
    place = np.concatenate([part.place + start for part, start in zip(parts, before, strict=True)])
    return TokenRows(**arrays, place=place, chunks=_joined_chunks(chunks) if len(chunks) == len(parts) else None)


def _joined_chunks(parts: Sequence[Chunks]) -> Chunks:
    tokens = [np.zeros(one.times_ns.size, np.int32) if one.tokens is None else one.tokens for one in parts]
    return Chunks(
        offsets=np.concatenate(([0], np.cumsum(np.concatenate([one.counts for one in parts])))),
        times_ns=np.concatenate([one.times_ns for one in parts]),
        tokens=None if all(one.tokens is None for one in parts) else np.concatenate(tokens),
    )


def read_tokens(frame: pd.DataFrame) -> TokenRows | None:
    """None where no row knows of any token."""
    if not any(name in frame and frame[name].notna().any() for name in ("first_token_ns", "tokens_out", "tokens_in")):
        return None
    n = len(frame)

    def times(name: str) -> Nanoseconds:
        return known_times(frame[name])[0] if name in frame else np.zeros(n, np.int64)

    def numbers(name: str) -> Floats:
        return known_numbers(frame[name]) if name in frame else np.full(n, np.nan)

    return TokenRows(
        first_token_ns=times("first_token_ns"),
        first_output_ns=times("first_output_ns"),
        last_token_ns=times("last_token_ns"),
        first_event_ns=times("first_event_ns"),
        whole_ns=times("end_ns"),
        tokens_in=numbers("tokens_in"),
        tokens_out=numbers("tokens_out"),
        tokens_asked=numbers("tokens_asked"),
        is_counted_by_chunks=_equals(frame, "tokens_from", "chunks"),
        place=np.arange(n),
        chunks=_read_chunks(frame),
    )


def _read_chunks(frame: pd.DataFrame) -> Chunks | None:
    lists = known_lists(frame["chunk_ns"], pa.int64()) if "chunk_ns" in frame else None
    if lists is None:
        return None
    lengths, times_ns = _lengths(lists), _flat(lists)
    counts = known_lists(frame["chunk_tokens"], pa.int32()) if "chunk_tokens" in frame else None
    tokens = None if counts is None else _aligned(counts, lengths, times_ns.size)
    return Chunks(np.concatenate(([0], np.cumsum(lengths))), times_ns, tokens)


def _aligned(counts: pa.ListArray, lengths: Nanoseconds, total: int) -> npt.NDArray[np.int32]:
    """The counts beside their times: rows whose lists are not as long as those of their times count as not told."""
    values = np.asarray(_flat(counts), dtype=np.int32)
    own = _lengths(counts)
    if np.array_equal(own, lengths):
        return values
    aligned = np.zeros(total, dtype=np.int32)
    is_told = (own == lengths) & (own > 0)
    aligned[np.repeat(is_told, lengths)] = values[np.repeat(is_told, own)]
    return aligned


def _lengths(lists: pa.ListArray) -> Nanoseconds:
    return np.asarray(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)


def _flat(lists: pa.ListArray) -> npt.NDArray[Any]:
    # `flatten` leaves out what null rows hide, and honours a slice's offset
    return np.asarray(lists.flatten().fill_null(_NULL_TOKENS).to_numpy(zero_copy_only=False))


def _equals(frame: pd.DataFrame, name: str, value: str) -> Mask:
    if name not in frame:
        return np.zeros(len(frame), dtype=bool)
    return np.asarray((frame[name] == value).to_numpy(dtype=bool, na_value=False))
