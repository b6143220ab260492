"""The rows of one stage as plain arrays: normalised once, so that nothing later asks how a null is written.

What the rows of one stage tell of tokens, as plain arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from app.analysis.columns import (
    Floats,
    Mask,
    Nanoseconds,
    Words,
    joined_words,
    known_lists,
    known_numbers,
    known_times,
    known_words,
)
from app.records.result import Window
from app.records.stage import StageFacts

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


NOT_STARTED = "not-started"


@dataclass(frozen=True)
class StageRows:
    """One entry an arrival, in the order of intended starts. A time that is not known is 0, and its mask false.

    Where no intended start is known (`has_intended` false), `intended_ns` is the send, for its place in time.
    """

    intended_ns: Nanoseconds
    sent_ns: Nanoseconds
    first_byte_ns: Nanoseconds
    end_ns: Nanoseconds
    """End of the answer; of a stream that succeeded its last token, whatever the connection carried after it."""
    has_intended: Mask
    was_sent: Mask
    has_first_byte: Mask
    is_failed: Mask
    is_success: Mask
    error: Words
    """The error's class; not to be read where `is_failed` is false."""
    right: Floats | None
    """How many rows of the request were answered rightly; NaN where there were no labels to hold them against, None
    where there were none for any."""
    tokens: TokenRows | None
    """None where no answer told anything of tokens."""

    @property
    def was_started(self) -> Mask:
        """A started arrival has a sent time, even one whose connection failed: then it is when that was asked for."""
        return self.was_sent

    @property
    def knows_intended(self) -> bool:
        return bool(self.has_intended.all())

    def errors(self) -> dict[str, int]:
        """Failures by class; arrivals the generator never started stand beside them as a class of their own."""
        found = dict(sorted(self.error.counts(self.is_failed).items()))
        not_started = int(np.count_nonzero(~self.was_started))
        return {**found, NOT_STARTED: not_started} if not_started else found

    def where(self, mask: Mask) -> StageRows:
        # nearly every stage keeps all its rows, and copying millions of them costs memory
        return self if mask.all() else self._taken(mask)

    def in_order(self) -> StageRows:
        """By intended start; those already in order are not copied."""
        order = _order(self.intended_ns)
        return self if isinstance(order, slice) else self._taken(order)

    def later(self, by_ns: int) -> StageRows:
        return replace(
            self,
            intended_ns=self.intended_ns + by_ns,
            sent_ns=moved(self.sent_ns, by_ns),
            first_byte_ns=moved(self.first_byte_ns, by_ns),
            end_ns=moved(self.end_ns, by_ns),
            tokens=None if self.tokens is None else self.tokens.later(by_ns),
        )

    def _taken(self, which: Mask | Nanoseconds) -> StageRows:
        return StageRows(
            **{name: getattr(self, name)[which] for name in _ARRAYS},
            error=self.error.taken(which),
            right=None if self.right is None else self.right[which],
            tokens=None if self.tokens is None else self.tokens.taken(which),
        )


_ARRAYS = tuple(field.name for field in fields(StageRows) if field.name not in ("error", "right", "tokens"))


def joined(parts: Sequence[StageRows]) -> StageRows:
    """The rows of several stages as those of one."""
    told = [part.tokens for part in parts if part.tokens is not None]
    right = [np.full(len(part.intended_ns), np.nan) if part.right is None else part.right for part in parts]
    return StageRows(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS},
        error=joined_words([part.error for part in parts]),
        right=None if all(part.right is None for part in parts) else np.concatenate(right),
        tokens=joined_tokens(told) if len(told) == len(parts) else None,
    ).in_order()


def read_rows(rows: pd.DataFrame | pa.Table) -> StageRows:
    """`rows` have the columns of the wire format and are of one stage, in any order.

    A column that is not of the first format may be missing.
    """
    frame = rows.to_pandas(types_mapper=pd.ArrowDtype) if isinstance(rows, pa.Table) else rows
    intended_ns, has_intended = known_times(frame["intended_ns"])
    if not has_intended.all():
        intended_ns = np.where(has_intended, intended_ns, known_times(frame["sent_ns"])[0])
    order = _order(intended_ns)

    def times(name: str) -> tuple[Nanoseconds, Mask]:
        values, known = known_times(frame[name])
        return values[order], known[order]

    sent_ns, was_sent = times("sent_ns")
    first_byte_ns, has_first_byte = times("first_byte_ns")
    end_ns, has_end = times("end_ns")
    error, tokens = known_words(frame["error"]).taken(order), read_tokens(frame)
    # an arrival that the end of the drain cut off before it was started has an error, and is no failure of the target
    is_failed = error.is_known & was_sent
    is_success = was_sent & has_end & ~is_failed
    if tokens is not None:
        tokens = tokens.taken(order)
        end_ns = tokens.end_of_answer(end_ns, is_success)
    is_judged = "right" in frame and frame["right"].notna().any()
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
        right=known_numbers(frame["right"])[order] if is_judged else None,
        tokens=tokens,
    )


def _order(intended_ns: Nanoseconds) -> Nanoseconds | slice:
    """By intended start; where they are in order already, a slice of all, which copies nothing."""
    is_in_order = np.all(intended_ns[1:] >= intended_ns[:-1])
    return slice(None) if is_in_order else np.argsort(intended_ns, kind="stable")


def offered_window(rows: StageRows, facts: StageFacts) -> Window:
    """The time arrivals were offered in: from the start for the stage's duration, without lead-in and drain.

    A stage stopped early was offered load until the last arrival it started.
    """
    end_ns = facts.start_ns + round(facts.duration_s * 1e9)
    if facts.stopped_early:
        started_ns = rows.intended_ns[rows.was_started]
        end_ns = min(end_ns, int(started_ns[-1]) + 1 if started_ns.size else facts.end_ns)
    return Window(facts.start_ns, max(end_ns, facts.start_ns))
