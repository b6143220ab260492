"""How many more pairs would tell, what they cost, and the line that measures them. Pure, but for reading profiles."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from app.errors import SizewiseError
from app.gui.compare.entries import Asked, Entry, label_of
from app.gui.formatting import one_line
from app.gui.navigation import Launch
from app.records.comparison import Comparison
from app.storage.allowed_secrets import AllowedSecrets

MOST_PAIRS, USUAL_PAIRS = 50, 7
LEAST_MINUTES, MOST_MINUTES = 1, 24 * 60
_USUAL_MINUTES = 20
_START_S = 4.0
"""That a new engine takes before and after its run's own clock, about."""
_SPARE = 1.2
_MINUTES_FROM_S = 100
_LONGEST = 300


class PairsOffer(msgspec.Struct, frozen=True):
    """`pairs` more would likely decide what counts. `pair_s` is what one takes, by the runs there are; `problem` says
    why none can be measured here. A profile is None where the run kept none."""

    pairs: int
    pair_s: float
    base: Path | None
    candidate: Path | None
    name: str = ""
    problem: str | None = None


def offer_of(comparison: Comparison, entries: Sequence[Entry]) -> PairsOffer | None:
    """None where nothing that counts is open. In any thread: it reads the two profiles."""
    from app.analysis.comparisons.comparison import undecided
    from app.reporting.comparison import name_of_pairs

    still_open = undecided(comparison)
    if not still_open:
        return None
    wanted = [one.more_repeats for one in still_open if one.more_repeats is not None]
    pairs = min(max(wanted, default=USUAL_PAIRS), MOST_PAIRS)
    sides = [[(at, one) for at, one in enumerate(entries) if one.side == side] for side in ("base", "candidate")]
    pair_s = sum(_run_s([one for _, one in side]) for side in sides)
    (base, name, problem), (candidate, other, other_problem) = (_profile_of(*side[0]) for side in sides)
    return PairsOffer(pairs, pair_s, base, candidate, name_of_pairs(name, other), problem or other_problem)


def minutes_for(offer: PairsOffer, pairs: int) -> int:
    """Room for as many again, which follow where a change is suspected."""
    needed = math.ceil(2 * pairs * offer.pair_s * _SPARE / 60)
    return min(max(_USUAL_MINUTES, needed), MOST_MINUTES)


def cost_line(offer: PairsOffer, pairs: int, minutes: int) -> str:
    once, twice = _about(pairs * offer.pair_s), _about(2 * pairs * offer.pair_s)
    told = "About {once}; about {twice} where a change is suspected, which takes as many again."
    bound = "At most {minutes} min: no pair is begun that would not end by then. Leave the machine alone meanwhile."
    return f"{told.format(once=once, twice=twice)} {bound.format(minutes=minutes)}"


def measure_line(asked: Asked, offer: PairsOffer, pairs: int, minutes: int) -> str:
    """The command that measures them; a side that kept no profile is a word to put one's own in place of."""
    from app.reporting.comparison import comparison_command

    base, candidate = str(offer.base or "BASE.yaml"), str(offer.candidate or "CANDIDATE.yaml")
    options = ("--measure", "--pairs", str(pairs), "--max-duration", f"{minutes}m")
    return comparison_command(base, (candidate,), asked.tolerance, is_forced=asked.is_forced, options=options)


def launch_of(asked: Asked, offer: PairsOffer, pairs: int, minutes: int, now: datetime) -> Launch:
    from app.storage.comparisons import comparisons_home
    from app.storage.run_directory import new_run_id

    arguments = tuple(shlex.split(measure_line(asked, offer, pairs, minutes))[1:])
    return Launch(arguments, comparisons_home() / new_run_id(offer.name, now), offer.name, "pairs")


def secrets_to_send(offer: PairsOffer) -> tuple[AllowedSecrets, ...]:
    """Those of both profiles that would go to hosts that nobody has allowed yet."""
    from app.profiles.loading import load_profile
    from app.wiring.secret_consent import secrets_to_allow

    wanted: dict[AllowedSecrets, None] = {}
    for path in (offer.base, offer.candidate):
        try:
            found = () if path is None else secrets_to_allow(load_profile(path))
        except SizewiseError:  # the command says what is wrong with it
            continue
        wanted.update(dict.fromkeys(found))
    return tuple(wanted)


def _about(duration_s: float) -> str:
    if duration_s < _MINUTES_FROM_S:
        return f"{round(duration_s)} s"
    return f"{round(duration_s / 60)} min"


def _run_s(entries: Sequence[Entry]) -> float:
    lasted = [one.result.clock.duration_s for one in entries if one.result is not None]
    return _START_S + (sum(lasted) / len(lasted) if lasted else 0.0)


def _profile_of(place: int, entry: Entry) -> tuple[Path | None, str, str | None]:
    """Its profile, its name, and why it cannot be measured."""
    from app.storage.run_directory import SPEC
    from app.wiring.profile_runs import name_to_measure

    named, spec = label_of(place, entry), entry.path / SPEC
    if not spec.is_file():
        told = "{run} kept no profile, as a result of another tool: name the profiles yourself, in a terminal."
        return None, entry.name, told.format(run=named)
    try:
        return spec, name_to_measure(str(spec)), None
    except (SizewiseError, OSError, UnicodeDecodeError) as error:
        hint = error.hint if isinstance(error, SizewiseError) else None
        why = one_line(". ".join(part for part in (str(error), hint) if part), _LONGEST)
        return spec, entry.name, f"The profile of {named} cannot be measured here: {why}"
