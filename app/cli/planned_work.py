"""How much a profile asks for, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from app.records.planned_work import PlannedWork
from reports.formatting import count, counted, money, number, seconds


def work_line(work: PlannedWork) -> str:
    """One line: what is sent, how long it takes, what it costs."""
    return "; ".join(_parts(work))


def _parts(work: PlannedWork) -> Iterator[str]:
    yield _stages(work)
    yield f"about {seconds(work.duration_s)}, at most {seconds(work.at_most_s)}"
    if work.requests:
        more = " and more by clients" if work.closed_stages else ""
        yield f"{count(round(work.requests))} requests expected{more}"
    if work.search is not None:
        least, most = work.search.requests
        low, high = work.search.supposed_per_s
        found = f"{number(low)}/s to {number(high)}/s"
        yield f"the search sends {count(round(least))} to {count(round(most))} where it finds {found}"
    if work.tokens_in is not None and work.requests:
        out = "n/a" if work.tokens_out is None else count(round(work.tokens_out))
        yield f"{count(round(work.tokens_in))} tokens in, {out} out"
    if work.usd is not None:
        yield f"${money(work.usd[0])}, at most ${money(work.usd[1])}"
    if work.cut_after is not None:
        yield work.cut_after
    elif work.limits:
        yield f"limited to {', '.join(work.limits)}"


def _stages(work: PlannedWork) -> str:
    if work.variants is not None:
        return f"{counted(work.variants, 'variant')}, {counted(work.stages, 'stage')}"
    parts = [counted(work.stages, "stage")] if work.stages or work.search is None else []
    if work.search is not None:
        least, most = work.search.probes
        parts.append(f"a search of {least} to {most} probes")
    return " and ".join(parts)
