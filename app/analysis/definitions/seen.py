"""The requests of a stage as other tools see them: from the send on, without a schedule to be late to.

How tools describe many values: mean and percentiles, by the methods they use.

Our own numbers, beside which the others' stand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.analysis.columns import Floats, Mask, Nanoseconds
from app.analysis.rows import StageRows, TokenRows
from app.records.definitions import AGGREGATES, METRICS, ToolNumbers
from app.records.metrics import PERCENTILES
from app.records.result import Estimate, Stage

Spread = dict[str, Estimate]

LINEAR = "percentiles lie on the line between the two values beside them, however few there are"


def linear(values: Floats, aggregates: tuple[str, ...] = AGGREGATES) -> Spread:
    """Percentiles as NumPy has them by default: linear between the values beside rank (n − 1) q. NaN is no value."""
    known = values[~np.isnan(values)]
    if not known.size:
        return lacking("no answer has one", aggregates)
    return {
        name: Estimate(float(known.mean() if name == "mean" else np.quantile(known, PERCENTILES[name])), n=known.size)
        for name in aggregates
    }


def weighted(values: Floats, weights: Floats) -> Spread:
    """The mean by weight; as a percentile, the smallest value at which the summed shares of the weights reach it.

    The shares are summed in floating point, in the order of distinct values, as GuideLLM does it: where a sum should
    meet a percentile exactly, its rounding decides.
    """
    found, places = np.unique(values[weights > 0], return_inverse=True)
    if not found.size:
        return lacking("no answer has one")
    together = np.bincount(places, weights[weights > 0])
    shares = together / together.sum()
    reached = np.cumsum(shares)

    def value(name: str) -> float:
        if name == "mean":
            return float(np.sum(found * shares))
        place = int(np.searchsorted(reached, PERCENTILES[name], side="left"))
        return float(found[min(place, found.size - 1)])

    return {name: Estimate(value(name), n=int(np.count_nonzero(weights > 0))) for name in AGGREGATES}


def lacking(reason: str, aggregates: tuple[str, ...] = AGGREGATES) -> Spread:
    return dict.fromkeys(aggregates, Estimate(None, reason=reason))


def per_second(amount: float, start_ns: int, end_ns: int) -> Spread:
    if end_ns <= start_ns:
        return lacking("no time passed", ("value",))
    return {"value": Estimate(amount / ((end_ns - start_ns) / 1e9))}


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


_OWN = {
    "ttft_ms": "ttft_ms",
    "itl_ms": "itl_ms",
    "icl_ms": "icl_ms",
    "tpot_ms": "tpot_ms",
    "e2e_ms": "latency_ms",
    "requests_per_s": "completed_per_s",
    "output_tokens_per_s": "output_tokens_per_s",
}
_WHY = {
    "ttft_ms": "from the intended time to the first delta that is not empty, reasoning included",
    "itl_ms": "the gaps between tokens, pooled: a delta of k tokens gives k gaps of a k-th",
    "icl_ms": "the gaps between deltas as they came, pooled",
    "tpot_ms": "(last − first token)/(tokens − 1), one an answer",
    "e2e_ms": "from the intended time to the last token: waiting to be sent is in it",
    "requests_per_s": "successes that ended within the stage's window, without its drain, over that window",
    "output_tokens_per_s": "tokens that came within the window, those of an answer spread evenly, over that window",
}
_NOTES = ("percentiles are values that were seen, and n/a where there are too few for an interval",)


def own_numbers(stage: Stage) -> ToolNumbers:
    return ToolNumbers(
        tool="Sizewise",
        read_from="docs/metrics.md",
        answers=stage.completed,
        metrics={name: found for name in METRICS if (found := _of(stage, name))},
        why=_WHY,
        notes=_NOTES,
    )


def _of(stage: Stage, name: str) -> Spread:
    told = stage.metrics.get(_OWN.get(name, ""), {})
    return {one: told[one] for one in (*AGGREGATES, "value") if one in told}
