"""Reasons to doubt what a stage's streams tell of tokens: chunks that came together, answers that ended early."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.analysis.grading import grade_high, grade_low
from app.analysis.rows import StageRows
from app.analysis.token_metrics import share_read_together
from app.records.result import Check
from app.records.stage import StageFacts

_TOGETHER = 0.1
_OF_ASKED = 0.9
_OF_LOAD = ("generator_ceiling", "generator_cpu", "generator_core_wait")


def stream_checks(rows: StageRows, facts: StageFacts, sending: Sequence[Check]) -> tuple[Check, ...]:
    """`rows` are those of arrivals inside the window, `sending` the checks of how they were sent; nothing where the
    rows tell of no tokens."""
    return (*_coalesced_check(rows, sending), *(_lengths_check(rows) if facts.lengths_asked else ()))


def _coalesced_check(rows: StageRows, sending: Sequence[Check]) -> tuple[Check, ...]:
    together = share_read_together(rows)
    if together is None:
        return ()
    hint = (
        "The load worker was busy, or had no core, and chunks waited until it read several at once: ICL and ITL are of "
        "its reads, not of the server. Use more workers, or lower the rate."
        if _is_busy(sending)
        else "The server, or a proxy before it, sent several at once: ICL and ITL are of what arrived, not of how the "
        "tokens were made. TPOT does not mind."
    )
    return (grade_high("coalesced_chunks", together, unit="share", warn=_TOGETHER, hint=hint),)


def _is_busy(sending: Sequence[Check]) -> bool:
    return any(one.id in _OF_LOAD and one.value is not None and one.verdict != "VALID" for one in sending)


def _lengths_check(rows: StageRows) -> tuple[Check, ...]:
    """The median of tokens in an answer over those asked for. Chunks counted as tokens would tell of nothing."""
    tokens = rows.tokens
    if tokens is None:
        return ()
    counted = rows.is_success & (tokens.tokens_asked > 0) & ~np.isnan(tokens.tokens_out) & ~tokens.is_counted_by_chunks
    if not counted.any():
        return ()
    share = float(np.median(tokens.tokens_out[counted] / tokens.tokens_asked[counted]))
    hint = (
        f"The median answer had {100 * share:.0f} % of the tokens asked for: make the server go on to the end "
        "(ignore_eos in workload.extra_body, where it knows that), or take the throughput as that of short answers."
    )
    return (grade_low("output_lengths", share, unit="share", warn=_OF_ASKED, hint=hint),)
