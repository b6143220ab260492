"""Format the amount of work that a profile requests, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from app.records.planned_work import PlannedSearch, PlannedWork
from reports.formatting import format_count, format_count_noun, format_duration, format_money, format_number


def format_work(work: PlannedWork) -> str:
    """Format the work that a profile requests as one line: stages, duration, requests, tokens and
    cost."""
    return "; ".join(_format_clauses(work))


def format_search_estimate(planned_search: PlannedSearch, max_duration_s: float | None) -> str:
    """Format how long a search for the max rate takes. `max_duration_s` is its time limit in s."""
    durations_s = [min(duration_s, max_duration_s or duration_s) for duration_s in planned_search.duration_s]
    duration_text = " to ".join(dict.fromkeys(map(format_duration, durations_s)))
    limit_text = "" if max_duration_s is None else f"; it ends after {format_duration(max_duration_s)} at most"
    return (
        f"estimate: the search takes {duration_text} for a max rate of "
        f"{' to '.join(map(format_number, planned_search.assumed_per_s))} req/s{limit_text}"
    )


def _format_clauses(work: PlannedWork) -> Iterator[str]:
    yield _format_stages(work)
    yield f"about {format_duration(work.duration_s)}, at most {format_duration(work.max_duration_s)}"
    if work.requests:
        closed_loop_note = " plus those of closed-loop stages" if work.closed_stages else ""
        yield f"{format_count(round(work.requests))} requests expected{closed_loop_note}"
    if work.search is not None:
        min_requests, max_requests = work.search.requests
        min_rate_per_s, max_rate_per_s = work.search.assumed_per_s
        rates_text = f"between {format_number(min_rate_per_s)} and {format_number(max_rate_per_s)} req/s"
        yield (
            f"the search sends {format_count(round(min_requests))} to {format_count(round(max_requests))} requests "
            "if the max "
            f"rate is {rates_text}"
        )
    if work.tokens_in is not None and work.requests:
        tokens_out_text = "n/a" if work.tokens_out is None else format_count(round(work.tokens_out))
        yield f"{format_count(round(work.tokens_in))} input tokens, {tokens_out_text} output tokens"
    if work.usd is not None:
        yield f"${format_money(work.usd[0])}, at most ${format_money(work.usd[1])}"
    if work.cut_after is not None:
        yield work.cut_after
    elif work.limits:
        yield f"limited to {', '.join(work.limits)}"


def _format_stages(work: PlannedWork) -> str:
    if work.variants is not None:
        return f"{format_count_noun(work.variants, 'variant')}, {format_count_noun(work.stages, 'stage')}"
    stage_texts = [format_count_noun(work.stages, "stage")] if work.stages or work.search is None else []
    if work.search is not None:
        min_probes, max_probes = work.search.probes
        stage_texts.append(f"a search of {min_probes} to {max_probes} probes")
    return " and ".join(stage_texts)
