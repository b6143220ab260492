"""What a profile asks for, as tiles and sentences: before anything is sent. Pure, but for looking at models."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from app.gui.formatting import NOT_AVAILABLE, count, money, number, seconds
from app.gui.words import tr
from app.records.planned_work import ImpossibleCell, PlannedWork

if TYPE_CHECKING:
    from app.wiring.impossible_cells import LocalMachine

_MOST_REASONS = 6


class Tile(msgspec.Struct, frozen=True):
    name: str
    value: str
    below: str = ""


class WorkView(msgspec.Struct, frozen=True):
    """`reason`: why nothing can be told, in words. `machine` is what was looked at, to be given next time."""

    work: PlannedWork | None = None
    cells: tuple[ImpossibleCell, ...] | None = None
    target: str = ""
    reason: str | None = None
    machine: Any = None


def work_view(tree: Mapping[str, Any], place: str, machine: LocalMachine | None) -> WorkView:
    """Of a local profile the machine is looked at too, unless it was before, and its models are."""
    from app.errors import ProfileError, SizewiseError
    from app.profiles.catalogue import load_catalogue
    from app.profiles.loading import load_values
    from app.profiles.local import LocalProfile
    from app.wiring.impossible_cells import facts_of_models, impossible_cells, local_machine
    from app.wiring.planned_work import planned_work

    try:
        profile = load_values(dict(tree), place)
        work = planned_work(profile, load_catalogue())
        if not isinstance(profile, LocalProfile):
            return WorkView(work, target=", ".join(profile.target.all_urls))
        machine = machine or local_machine()
        cells = impossible_cells(profile, machine, facts_of_models(profile))
        return WorkView(work, cells, tr("this machine"), machine=machine)
    except SizewiseError as error:
        said = error.problem if isinstance(error, ProfileError) else str(error)
        hint = f" {error.hint}" if error.hint else ""
        return WorkView(reason=f"{said}.{hint}"[:500], machine=machine)


def tiles_of(work: PlannedWork, now: datetime) -> tuple[Tile, ...]:
    tiles = [_work_tile(work), _time_tile(work, now)]
    if work.variants is None:
        tiles.append(_requests_tile(work))
        if work.tokens_in is not None or work.tokens_out is not None or work.tokens_reason is not None:
            tiles.append(_tokens_tile(work))
    if work.usd is None:
        tiles.append(Tile(tr("Money"), NOT_AVAILABLE, work.usd_reason or ""))
    else:
        most = tr("at most ${usd}").format(usd=money(work.usd[1]))
        tiles.append(Tile(tr("Money"), f"${money(work.usd[0])}", most))
    limits = ", ".join(work.limits) or tr("none")
    tiles.append(
        Tile(tr("Limits"), limits, work.cut_after or tr("whichever comes first ends the run") * bool(work.limits))
    )
    return tuple(tiles)


def safety_line(view: WorkView) -> str:
    """One sentence of what pressing Start does."""
    work = view.work
    if work is None:
        return ""
    where = view.target[:200] or tr("a server that the run starts itself")
    if work.variants is not None:
        return tr("Start measures {stages} on {where}, for at most {time}.").format(
            stages=_stages(work.stages), where=where, time=seconds(work.at_most_s)
        )
    return tr("Start sends {requests} to {where}, for at most {time}.").format(
        requests=_all_requests(work), where=where, time=seconds(work.at_most_s)
    )


def cell_rows(cells: tuple[ImpossibleCell, ...]) -> tuple[tuple[str, str], ...]:
    """How many have the same against them, and what; the first of them is named."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for one in cells:
        by_reason.setdefault((one.settles, one.reason), []).append(one.cell)
    rows = []
    for (settles, reason), names in list(by_reason.items())[:_MOST_REASONS]:
        many = tr("1 variant") if len(names) == 1 else tr("{variants} variants").format(variants=count(len(names)))
        such = names[0] if len(names) == 1 else tr("such as {cell}").format(cell=names[0])
        rows.append((many, f"{reason[:240]} ({settles}): {such[:160]}"))
    left = len(by_reason) - len(rows)
    return (*rows, *([(tr("and"), tr("{left} more reasons").format(left=left))] if left > 0 else []))


def _all_requests(work: PlannedWork) -> str:
    if work.search is None:
        if work.closed_stages and not work.requests:
            return tr("as many requests as are answered")
        more = tr(" and more by clients") if work.closed_stages else ""
        return tr("about {requests} requests").format(requests=count(round(work.requests or 0))) + more
    stages = work.requests or 0.0
    least, most = (count(round(stages + one)) for one in work.search.requests)
    return tr("{least} to {most} requests").format(least=least, most=most)


def _work_tile(work: PlannedWork) -> Tile:
    if work.variants is not None:
        many = tr("{variants} variants").format(variants=count(work.variants))
        variants = tr("1 variant") if work.variants == 1 else many
        return Tile(tr("Work"), variants, _stages(work.stages))
    if work.search is None:
        relative = tr("{of} at a share of another").format(of=work.relative_stages) if work.relative_stages else ""
        return Tile(tr("Work"), _stages(work.stages), relative)
    least, most = work.search.probes
    probes = tr("{least} to {most} probes").format(least=least, most=most)
    below = tr("after {stages}").format(stages=_stages(work.stages)) if work.stages else tr("the search's")
    return Tile(tr("Work"), probes, below)


def _stages(number_of: int) -> str:
    return tr("1 stage") if number_of == 1 else tr("{stages} stages").format(stages=count(number_of))


def _time_tile(work: PlannedWork, now: datetime) -> Tile:
    until = (now + timedelta(seconds=work.at_most_s)).strftime("%H:%M")
    most = tr("at most {time}: until {until}").format(time=seconds(work.at_most_s), until=until)
    return Tile(tr("Time"), tr("about {time}").format(time=seconds(work.duration_s)), most)


def _requests_tile(work: PlannedWork) -> Tile:
    name = tr("Requests")
    if work.search is not None:
        low, high = (number(one) for one in work.search.supposed_per_s)
        least, most = (count(round((work.requests or 0) + one)) for one in work.search.requests)
        below = tr("where the answer is {low}/s to {high}/s").format(low=low, high=high)
        return Tile(name, tr("{least} to {most}").format(least=least, most=most), below)
    if work.closed_stages:
        known = count(round(work.requests)) if work.requests else NOT_AVAILABLE
        below = tr("and as many as clients get answered")
        return Tile(name, known, below)
    return Tile(name, tr("about {requests}").format(requests=count(round(work.requests or 0))), tr("expected"))


def _tokens_tile(work: PlannedWork) -> Tile:
    if work.tokens_in is None:
        return Tile(tr("Tokens"), NOT_AVAILABLE, work.tokens_reason or "")
    told = tr("{tokens} in").format(tokens=count(round(work.tokens_in)))
    if work.search is not None and not work.requests:
        return Tile(tr("Tokens"), NOT_AVAILABLE, tr("they go with the rate that is found"))
    if work.tokens_out is None:
        return Tile(tr("Tokens"), told, work.tokens_reason or "")
    return Tile(tr("Tokens"), told, tr("{tokens} out").format(tokens=count(round(work.tokens_out))))
