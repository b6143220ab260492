"""The requests of a stage as other tools see them: from the send on, without a schedule to be late to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.analysis.columns import Floats, Mask, Nanoseconds
from app.analysis.rows import StageRows
from app.analysis.token_rows import TokenRows


@dataclass(frozen=True)
class Deltas:
    """All deltas that are not empty, those of one answer together and in their order; `answer` is its place."""

    answer: Nanoseconds
    at_ns: Nanoseconds
    tokens: Nanoseconds
    """How many tokens each holds, 0 where nothing tells."""

    def kept(self, mask: Mask) -> Deltas:
        return Deltas(self.answer[mask], self.at_ns[mask], self.tokens[mask])

    def gaps_ms(self) -> Floats:
        """Between successive deltas of one answer, all answers pooled."""
        return np.asarray(np.diff(self.at_ns)[np.diff(self.answer) == 0] / 1e6)

    def counted(self, answers: int) -> Nanoseconds:
        """How many each of so many answers has."""
        return np.bincount(self.answer, minlength=answers)


@dataclass(frozen=True)
class Seen:
    """The arrays have an entry a success. A time that is not known is 0, a count NaN."""

    stage_start_ns: int
    first_sent_ns: int
    last_end_ns: int
    """Of all requests sent, failures too."""
    failed: int
    failed_deltas: int
    sent_ns: Nanoseconds
    end_ns: Nanoseconds
    """When the answer was whole, what comes after its last token included."""
    last_ns: Nanoseconds
    """Its last token, or its end where it has no times of tokens."""
    first_event_ns: Nanoseconds
    first_token_ns: Nanoseconds
    first_output_ns: Nanoseconds
    tokens_out: Floats
    deltas: Deltas

    @property
    def answers(self) -> int:
        return self.sent_ns.size

    @property
    def is_streamed(self) -> bool:
        return bool(np.any(self.first_token_ns > 0))

    @property
    def counts_tokens(self) -> bool:
        return not np.isnan(self.tokens_out).all()

    def since_sent_ms(self, times_ns: Nanoseconds) -> Floats:
        """NaN where the time is not known."""
        return np.where(times_ns > 0, (times_ns - self.sent_ns) / 1e6, np.nan)


def seen(rows: StageRows, stage_start_ns: int) -> Seen:
    """`rows` are the stage's without its lead-in. What was never sent is nothing to other tools."""
    sent = rows.where(rows.was_sent & (rows.end_ns > 0))
    success = sent.where(sent.is_success)
    every_end_ns = sent.end_ns if sent.tokens is None else sent.tokens.whole_ns
    failures, of = sent.where(sent.is_failed).tokens, success.tokens
    nothing = np.zeros(success.sent_ns.size, dtype=np.int64)
    deltas = _deltas(of)
    return Seen(
        stage_start_ns=stage_start_ns,
        first_sent_ns=int(sent.sent_ns.min(initial=np.iinfo(np.int64).max)),
        last_end_ns=int(every_end_ns.max(initial=0)),
        failed=int(np.count_nonzero(sent.is_failed)),
        failed_deltas=_deltas(failures).at_ns.size,
        sent_ns=success.sent_ns,
        end_ns=success.end_ns if of is None else of.whole_ns,
        last_ns=success.end_ns,
        first_event_ns=nothing if of is None else of.first_event_ns,
        first_token_ns=nothing if of is None else of.first_token_ns,
        first_output_ns=nothing if of is None else of.first_output_ns,
        tokens_out=np.full(success.sent_ns.size, np.nan) if of is None else of.tokens_out,
        deltas=deltas,
    )


def _deltas(tokens: TokenRows | None) -> Deltas:
    if tokens is None or tokens.chunks is None:
        return Deltas(*(np.zeros(0, dtype=np.int64) for _ in range(3)))
    chunks, counts = tokens.chunks, tokens.chunks.counts
    answer_at = np.full(counts.size, -1)
    answer_at[tokens.place] = np.arange(tokens.place.size)
    answer = np.repeat(answer_at, counts)
    told = np.zeros(answer.size, np.int64) if chunks.tokens is None else chunks.tokens.astype(np.int64)
    found = Deltas(answer, chunks.times_ns, told).kept(answer >= 0)
    # as many tokens as there are deltas: one in each
    is_single = ~tokens.is_counted_by_chunks & (tokens.tokens_out == found.counted(tokens.place.size))
    return Deltas(found.answer, found.at_ns, np.where(is_single[found.answer], 1, np.maximum(found.tokens, 0)))
