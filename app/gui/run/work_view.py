"""Summary of the requests that a profile would send, as tiles and sentences, before the run starts.
The functions are pure, except for model inspection."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from app.gui.formatting import NOT_AVAILABLE, format_count, format_duration, format_money, format_number, shorten
from app.records.planned_work import ImpossibleVariant, PlannedWork

if TYPE_CHECKING:
    from app.wiring.unrunnable_variants import LocalMachine

_MAX_REASONS = 6


class Tile(msgspec.Struct, frozen=True):
    name: str
    value: str
    detail: str = ""


class WorkView(msgspec.Struct, frozen=True):
    """Planned work of a run. `reason` is the reason why the work of a valid profile cannot be
    estimated, or is None. `machine` is cached data to pass to the next call of `build_work_view`."""

    work: PlannedWork | None = None
    unrunnable_variants: tuple[ImpossibleVariant, ...] | None = None
    target: str = ""
    reason: str | None = None
    machine: Any = None


def build_work_view(tree: Mapping[str, Any], path: str, machine: LocalMachine | None) -> WorkView:
    """Compute the planned work of a profile, which is None if the profile has errors. For a local
    profile, inspect the models, and also this machine if `machine` is None."""
    from app.errors import ProfileError, SizewiseError
    from app.profiles.loading import load_profile_tree
    from app.profiles.local import LocalProfile
    from app.profiles.pricing.catalog import load_catalog
    from app.wiring.planned_work import estimate_work
    from app.wiring.unrunnable_variants import find_unrunnable_variants, inspect_local_machine, inspect_models

    try:
        profile = load_profile_tree(dict(tree), path)
    except ProfileError:  # the page states the errors
        return WorkView(machine=machine)
    try:
        work = estimate_work(profile, load_catalog())
        if not isinstance(profile, LocalProfile):
            return WorkView(work, target=", ".join(profile.target.all_urls))
        machine = machine or inspect_local_machine()
        unrunnable_variants = find_unrunnable_variants(profile, machine, inspect_models(profile))
        return WorkView(work, unrunnable_variants, "this machine", machine=machine)
    except SizewiseError as error:
        message = error.problem if isinstance(error, ProfileError) else str(error)
        hint = f" {error.hint}" if error.hint else ""
        return WorkView(reason=shorten(f"{message}.{hint}", 500), machine=machine)


def build_tiles(work: PlannedWork, now: datetime) -> tuple[Tile, ...]:
    tiles = [_build_work_tile(work), _build_time_tile(work, now)]
    if work.variants is None:
        tiles.append(_build_requests_tile(work))
        if work.tokens_in is not None or work.tokens_out is not None or work.tokens_reason is not None:
            tiles.append(_build_tokens_tile(work))
    if work.usd is None:
        tiles.append(Tile("Cost", NOT_AVAILABLE, work.usd_reason or ""))
    else:
        maximum_text = f"at most ${format_money(work.usd[1])}"
        tiles.append(Tile("Cost", f"${format_money(work.usd[0])}", maximum_text))
    limits_text = ", ".join(work.limits) or "none"
    tiles.append(
        Tile(
            "Limits", limits_text, work.cut_after or "the first limit that is reached ends the run" * bool(work.limits)
        )
    )
    return tuple(tiles)


def format_start_summary(view: WorkView) -> str:
    """Return one sentence that describes what the run would do."""
    work = view.work
    if work is None:
        return "" if view.reason is not None else "The planned run appears here when the profile has no errors."
    destination = shorten(view.target, 200) or "a server that the run starts"
    max_duration = format_duration(work.max_duration_s)
    if work.variants is not None:
        return f"The run measures {_format_stages(work.stages)} on {destination}, for at most {max_duration}."
    return f"The run sends {_format_requests(work)} to {destination}, for at most {max_duration}."


def group_unrunnable_variants(variants: tuple[ImpossibleVariant, ...]) -> tuple[tuple[str, str], ...]:
    """Group, by reason, the variants that cannot run. Each group has the number of variants, and a
    text with the reason and the first variant as an example."""
    names_by_reason: dict[tuple[str, str], list[str]] = {}
    for variant in variants:
        names_by_reason.setdefault((variant.hint, variant.reason), []).append(variant.cell)
    rows = []
    for (hint, reason), names in list(names_by_reason.items())[:_MAX_REASONS]:
        heading = "1 variant" if len(names) == 1 else f"{format_count(len(names))} variants"
        example = names[0] if len(names) == 1 else f"such as {names[0]}"
        rows.append((heading, f"{shorten(reason, 240)} ({hint}): {shorten(example, 160)}"))
    remaining_count = len(names_by_reason) - len(rows)
    return (*rows, *([("Other variants", f"{remaining_count} more reasons")] if remaining_count > 0 else []))


def _format_requests(work: PlannedWork) -> str:
    if work.search is None:
        if work.closed_stages and not work.requests:
            return "requests in a closed loop"
        more_text = " plus closed-loop requests" if work.closed_stages else ""
        return f"about {format_count(round(work.requests or 0))} requests" + more_text
    stage_requests = work.requests or 0.0
    min_count, max_count = (
        format_count(round(stage_requests + search_requests)) for search_requests in work.search.requests
    )
    return f"{min_count} to {max_count} requests"


def _build_work_tile(work: PlannedWork) -> Tile:
    if work.variants is not None:
        plural_text = f"{format_count(work.variants)} variants"
        variants_text = "1 variant" if work.variants == 1 else plural_text
        return Tile("Work", variants_text, _format_stages(work.stages))
    if work.search is None:
        relative_text = f"{work.relative_stages} relative to another stage" if work.relative_stages else ""
        return Tile("Work", _format_stages(work.stages), relative_text)
    min_count, max_count = work.search.probes
    probes = f"{min_count} to {max_count} probes"
    detail = f"after {_format_stages(work.stages)}" if work.stages else "search"
    return Tile("Work", probes, detail)


def _format_stages(count: int) -> str:
    return "1 stage" if count == 1 else f"{format_count(count)} stages"


def _build_time_tile(work: PlannedWork, now: datetime) -> Tile:
    end_time = (now + timedelta(seconds=work.max_duration_s)).strftime("%H:%M")
    maximum_text = f"at most {format_duration(work.max_duration_s)} (until {end_time})"
    return Tile("Duration", f"about {format_duration(work.duration_s)}", maximum_text)


def _build_requests_tile(work: PlannedWork) -> Tile:
    name = "Requests"
    if work.search is not None:
        min_rate, max_rate = (format_number(rate_per_s) for rate_per_s in work.search.assumed_per_s)
        min_count, max_count = (format_count(round((work.requests or 0) + count)) for count in work.search.requests)
        detail = f"for a max rate of {min_rate} to {max_rate} req/s"
        return Tile(name, f"{min_count} to {max_count}", detail)
    if work.closed_stages:
        request_text = format_count(round(work.requests)) if work.requests else NOT_AVAILABLE
        detail = "plus closed-loop requests"
        return Tile(name, request_text, detail)
    return Tile(name, f"about {format_count(round(work.requests or 0))}", "expected")


def _build_tokens_tile(work: PlannedWork) -> Tile:
    if work.tokens_in is None:
        return Tile("Tokens", NOT_AVAILABLE, work.tokens_reason or "")
    input_text = f"{format_count(round(work.tokens_in))} input"
    if work.search is not None and not work.requests:
        return Tile("Tokens", NOT_AVAILABLE, "depends on the max rate")
    if work.closed_stages and not work.requests:
        return Tile("Tokens", NOT_AVAILABLE, "depends on the number of requests")
    if work.tokens_out is None:
        return Tile("Tokens", input_text, work.tokens_reason or "")
    return Tile("Tokens", input_text, f"{format_count(round(work.tokens_out))} output")
