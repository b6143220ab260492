"""Limits that a profile sets for a run. They are checked while the run is in progress."""

from __future__ import annotations

from app.records.abort import AbortRule
from app.session.spec import LimitSpec


class LimitMonitor:
    """Monitor of the limits of a run on duration, number of requests and cost."""

    def __init__(self, limits: LimitSpec, start_ns: int) -> None:
        self._limits = limits
        self._start_ns = start_ns
        self._sent_in_earlier_stages = 0
        self.stop_reason: str | None = None
        """Message that states which limit or which stage result ended the run; `None` as long as
        the run may continue."""

    @property
    def abort_when(self) -> AbortRule | None:
        return self._limits.abort_when

    def cap_duration_s(self, requested_duration_s: float, now_ns: int) -> float:
        """Return the smaller of `requested_duration_s` and the time left until the duration limit
        of the run, in s."""
        if self._limits.duration_s is None:
            return requested_duration_s
        return max(0.0, min(requested_duration_s, self._limits.duration_s - (now_ns - self._start_ns) / 1e9))

    def cap_requests(self, requested: int | None) -> int | None:
        """Return the smaller of `requested` and the number of requests left until the limit of the
        run; `None` if neither limits the stage."""
        if self._limits.requests is None:
            return requested
        remaining = max(0, self._limits.requests - self._sent_in_earlier_stages)
        return remaining if requested is None else min(requested, remaining)

    def add_sent(self, sent: int) -> None:
        self._sent_in_earlier_stages += sent

    def abort(self, reason: str) -> None:
        """End the run because of the results of a stage. `reason` is the message for the user."""
        self.stop_reason = self.stop_reason or reason

    def check(self, now_ns: int, sent_in_stage: int = 0) -> bool:
        """Return True if the run may continue. Otherwise, store a message about the reached limit
        in `stop_reason`."""
        limits, elapsed_s = self._limits, (now_ns - self._start_ns) / 1e9
        if limits.duration_s is not None and elapsed_s >= limits.duration_s:
            self.stop_reason = f"the run reached limits.duration ({limits.duration_s:g} s)"
        elif limits.requests is not None and self._sent_in_earlier_stages + sent_in_stage >= limits.requests:
            self.stop_reason = f"the run reached limits.requests ({limits.requests:,})"
        elif limits.usd is not None and limits.usd_per_hour is not None:
            spent_usd = limits.usd_per_hour * elapsed_s / 3600
            if spent_usd >= limits.usd:
                self.stop_reason = f"the run reached limits.usd (${limits.usd:g}) at ${limits.usd_per_hour:g}/h"
        return self.stop_reason is None
