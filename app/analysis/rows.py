"""The rows of one stage as plain arrays: normalised once, so that nothing later asks how a null is written."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pandas as pd

from app.records.result import Window
from app.records.stage import StageFacts

Nanoseconds = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
NOT_STARTED = "not-started"


@dataclass(frozen=True)
class StageRows:
    """One entry an arrival, in the order of intended starts. A time that is not known is 0, and its mask false."""

    intended_ns: Nanoseconds
    sent_ns: Nanoseconds
    first_byte_ns: Nanoseconds
    end_ns: Nanoseconds
    was_sent: Mask
    has_first_byte: Mask
    is_failed: Mask
    is_success: Mask
    error: npt.NDArray[np.object_]
    """The error's class; not to be read where `is_failed` is false."""
    right: npt.NDArray[np.float64]
    """How many rows of the request were answered rightly; NaN where there were no labels to hold them against."""

    @property
    def was_started(self) -> Mask:
        """A started arrival has a sent time, even one whose connection failed: then it is when that was asked for."""
        return self.was_sent

    def errors(self) -> dict[str, int]:
        """Failures by class; arrivals the generator never started stand beside them as a class of their own."""
        classes, counts = np.unique(self.error[self.is_failed].astype(str), return_counts=True)
        found = {str(name): int(count) for name, count in zip(classes, counts, strict=True)}
        not_started = int(np.count_nonzero(~self.was_started))
        return {**found, NOT_STARTED: not_started} if not_started else found

    def where(self, mask: Mask) -> StageRows:
        # nearly every stage keeps all its rows, and copying millions of them costs memory
        return self if mask.all() else self._taken(mask)

    def in_order(self) -> StageRows:
        """By intended start; those already in order are not copied."""
        if np.all(self.intended_ns[1:] >= self.intended_ns[:-1]):
            return self
        return self._taken(np.argsort(self.intended_ns, kind="stable"))

    def _taken(self, which: Mask | Nanoseconds) -> StageRows:
        return StageRows(**{field.name: getattr(self, field.name)[which] for field in fields(self)})


def read_rows(frame: pd.DataFrame) -> StageRows:
    """`frame` has the columns of the wire format and holds one stage, in any order; `right` may be missing."""
    sent_ns, was_sent = _times(frame["sent_ns"])
    first_byte_ns, has_first_byte = _times(frame["first_byte_ns"])
    end_ns, has_end = _times(frame["end_ns"])
    # an arrival that the end of the drain cut off before it was started has an error, and is no failure of the target
    is_failed = frame["error"].notna().to_numpy(dtype=bool) & was_sent
    rows = StageRows(
        intended_ns=_times(frame["intended_ns"])[0],
        sent_ns=sent_ns,
        first_byte_ns=first_byte_ns,
        end_ns=end_ns,
        was_sent=was_sent,
        has_first_byte=has_first_byte,
        is_failed=is_failed,
        is_success=was_sent & has_end & ~is_failed,
        error=frame["error"].to_numpy(dtype=object),
        right=_numbers(frame["right"]) if "right" in frame else np.full(len(frame), np.nan),
    )
    return rows.in_order()


def offered_window(rows: StageRows, facts: StageFacts) -> Window:
    """The time arrivals were offered in: from the start for the stage's duration, without the drain.

    A stage stopped early was offered load until the last arrival it started.
    """
    end_ns = facts.start_ns + round(facts.duration_s * 1e9)
    if facts.stopped_early:
        started_ns = rows.intended_ns[rows.was_started]
        end_ns = min(end_ns, int(started_ns[-1]) + 1 if started_ns.size else facts.end_ns)
    return Window(facts.start_ns, end_ns)


def _times(column: pd.Series) -> tuple[Nanoseconds, Mask]:
    known = column.notna().to_numpy(dtype=bool)
    times_ns: Nanoseconds = np.asarray(column.to_numpy(dtype=np.int64, na_value=0))
    return times_ns, known


def _numbers(column: pd.Series) -> npt.NDArray[np.float64]:
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
