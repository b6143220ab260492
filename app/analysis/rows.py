"""The rows of one stage as plain arrays: normalised once, so that nothing later asks how a null is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from app.analysis.columns import (
    Floats,
    Mask,
    Nanoseconds,
    Words,
    joined_words,
    known_numbers,
    known_times,
    known_words,
)
from app.analysis.token_rows import TokenRows, joined_tokens, moved, read_tokens
from app.records.result import Window
from app.records.stage import StageFacts

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
