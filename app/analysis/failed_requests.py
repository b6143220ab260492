"""Determine how many requests of a run failed, and whether that fails a run in which no objective
limits errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from app.analysis.number_format import format_number
from app.analysis.pooling import select_first_samples
from app.errors import ExitCode
from app.records.result import Cause, Objective, Stage
from app.records.stage_kinds import STAGE_KINDS

_MAX_SHARE = 0.5
"""Largest share of failed requests with which a run without a limit on errors does not fail."""
_ERROR_METRICS = ("error_rate", "goodput_share")


class FailedRequests(msgspec.Struct, frozen=True):
    """Number of failed requests among all requests of the measured stages."""

    failed: int
    total: int
    error: str | None
    """Most frequent error: the status or reason of its first failure, or else its class; `None`
    without failures."""

    @property
    def share(self) -> float:
        return self.failed / self.total if self.total else 0.0

    @property
    def text(self) -> str:
        """Clause such as "42.6 % of 1,000 requests failed, mostly with status 429 (Too Many
        Requests)"."""
        share_text = f"{format_number(100 * self.share, 3)} % of {self.total:,} requests failed"
        return share_text if self.error is None else f"{share_text}, mostly with {self.error}"


def count_failed_requests(stages: Iterable[Stage]) -> FailedRequests:
    """Count the failed requests of the measured stages: all except warm-ups, local models, and
    stages that pool others."""
    measured_stages = [
        stage
        for stage in stages
        if STAGE_KINDS[stage.kind].is_measured and stage.variant is None and not stage.is_pooled
    ]
    counts: Counter[str] = Counter()
    for stage in measured_stages:
        counts.update(stage.errors)
    failed = counts.total()
    error = min(counts, key=lambda name: (-counts[name], name)) if failed else None
    samples = select_first_samples(stage.error_samples for stage in measured_stages)
    text = next((sample.text for sample in samples if sample.error == error), error)
    return FailedRequests(failed, failed + sum(stage.completed for stage in measured_stages), text)


def find_failed_requests_causes(stages: Sequence[Stage], objectives: Iterable[Objective]) -> list[Cause]:
    """Return the cause of a run in which most requests failed, but some succeeded. There is none if
    an objective or a gate limits errors, because it decides then."""
    if any(objective.metric in _ERROR_METRICS for objective in objectives):
        return []
    failed_requests = count_failed_requests(stages)
    if failed_requests.failed == failed_requests.total or failed_requests.share <= _MAX_SHARE:
        return []
    return [Cause("requests_failed", ExitCode.GATE_FAILED, failed_requests.text)]
