"""That a report is not of the run's own verdict, in words."""

from __future__ import annotations

from app.records.result import Rescored
from reports import formatting


def rescored_words(stamp: Rescored) -> str:
    """As in "Re-scored: SLO latency_ms.p95 < 30; window 10–25 s of the run"."""
    parts = []
    if stamp.slo is not None:
        parts.append(f"SLO {' and '.join(stamp.slo)}" if stamp.slo else "no SLO")
    if stamp.window_s is not None:
        from_s, to_s = (formatting.plain(at) for at in stamp.window_s)
        parts.append(f"window {from_s}–{to_s}{formatting.THIN}s of the run")
    return f"Re-scored: {'; '.join(parts)}"
