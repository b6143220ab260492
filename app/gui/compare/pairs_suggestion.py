"""Suggested A/B pairs: how many more pairs are needed for a verdict, how long they take, and the
command that measures the pairs.

All functions are pure, except those that read profiles.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from app.errors import SizewiseError
from app.gui.compare.entries import ComparisonEntry, ComparisonRequest, format_run_label
from app.gui.formatting import shorten
from app.gui.navigation import Launch
from app.records.comparison import Comparison
from app.storage.allowed_secrets import AllowedSecrets

MAX_PAIRS, DEFAULT_PAIR_COUNT = 50, 7
MIN_MINUTES, MAX_MINUTES = 1, 24 * 60
_DEFAULT_MINUTES = 20
_STARTUP_S = 4.0
"""Approximate startup and shutdown time of a load generator, in seconds, which the duration of a
run does not include."""
_TIME_MARGIN = 1.2
_MINUTES_THRESHOLD_S = 100
_MAX_CHARACTERS = 300


class PairsSuggestion(msgspec.Struct, frozen=True):
    """Suggested number of additional A/B pairs.

    `pair_count` is the number of additional pairs that are probably needed for a verdict on the
    inconclusive headline metrics. `pair_duration_s` is the duration of one pair in seconds,
    estimated from the existing runs. `problem` is the reason why no pairs can be measured on this
    machine. `baseline` and `candidate` are the stored profiles, or None if the run stored no
    profile.
    """

    pair_count: int
    pair_duration_s: float
    baseline: Path | None
    candidate: Path | None
    name: str = ""
    problem: str | None = None


def suggest_pairs(comparison: Comparison, entries: Sequence[ComparisonEntry]) -> PairsSuggestion | None:
    """Suggest A/B pairs, or return None if no headline metric is inconclusive.

    The function reads the two profiles, and can be called from any thread.
    """
    from app.analysis.comparisons.comparison import find_inconclusive_changes
    from app.reporting.comparison import format_pairs_name

    undecided_changes = find_inconclusive_changes(comparison)
    if not undecided_changes:
        return None
    suggestions = [change.more_repeats for change in undecided_changes if change.more_repeats is not None]
    pair_count = min(max(suggestions, default=DEFAULT_PAIR_COUNT), MAX_PAIRS)
    sides = [
        [(index, entry) for index, entry in enumerate(entries) if entry.side == side]
        for side in ("baseline", "candidate")
    ]
    pair_duration_s = sum(_mean_run_duration_s([entry for _, entry in side]) for side in sides)
    (baseline, baseline_name, baseline_problem), (candidate, candidate_name, candidate_problem) = (
        _read_profile(*side[0]) for side in sides
    )
    return PairsSuggestion(
        pair_count,
        pair_duration_s,
        baseline,
        candidate,
        format_pairs_name(baseline_name, candidate_name),
        baseline_problem or candidate_problem,
    )


def compute_time_limit_min(suggestion: PairsSuggestion, pair_count: int) -> int:
    """Return the time limit in minutes, at most one day. The limit allows measuring the pairs
    twice, because all pairs are repeated if a change is suspected."""
    needed_min = math.ceil(2 * pair_count * suggestion.pair_duration_s * _TIME_MARGIN / 60)
    return min(max(_DEFAULT_MINUTES, needed_min), MAX_MINUTES)


def duration_text(suggestion: PairsSuggestion, pair_count: int, time_limit_min: int) -> str:
    single_text = _format_duration(pair_count * suggestion.pair_duration_s)
    double_text = _format_duration(2 * pair_count * suggestion.pair_duration_s)
    return (
        f"The pairs take about {single_text}, or about {double_text} "
        "if a change is suspected and the pairs are repeated. "
        f"The time limit is {time_limit_min} min. A pair that cannot finish in time is not started. "
        "Do not use the machine meanwhile."
    )


def build_measure_command(
    request: ComparisonRequest, suggestion: PairsSuggestion, pair_count: int, time_limit_min: int
) -> str:
    """Return the command that measures the pairs. The command contains a placeholder for the
    profile of a run that stored no profile."""
    from app.reporting.comparison import build_comparison_command

    baseline, candidate = str(suggestion.baseline or "BASELINE.yaml"), str(suggestion.candidate or "CANDIDATE.yaml")
    options = ("--measure", "--pairs", str(pair_count), "--max-duration", f"{time_limit_min}m")
    return build_comparison_command(
        baseline, (candidate,), request.tolerance, is_forced=request.is_forced, options=options
    )


def build_launch(
    request: ComparisonRequest, suggestion: PairsSuggestion, pair_count: int, time_limit_min: int, now: datetime
) -> Launch:
    from app.storage.comparisons import comparisons_home
    from app.storage.run_directory import new_run_id

    arguments = tuple(shlex.split(build_measure_command(request, suggestion, pair_count, time_limit_min))[1:])
    return Launch(arguments, comparisons_home() / new_run_id(suggestion.name, now), suggestion.name, "pairs")


def find_secrets_to_send(suggestion: PairsSuggestion) -> tuple[AllowedSecrets, ...]:
    """Return the secrets of both profiles that need the user's consent, because they would be sent
    to hosts that are not allowed yet."""
    from app.profiles.loading import load_profile
    from app.wiring.secret_consent import find_secrets_to_allow

    secrets_to_allow: dict[AllowedSecrets, None] = {}
    for path in (suggestion.baseline, suggestion.candidate):
        try:
            secrets = () if path is None else find_secrets_to_allow(load_profile(path))
        except SizewiseError:  # the command itself reports this error
            continue
        secrets_to_allow.update(dict.fromkeys(secrets))
    return tuple(secrets_to_allow)


def _format_duration(duration_s: float) -> str:
    if duration_s < _MINUTES_THRESHOLD_S:
        return f"{round(duration_s)} s"
    return f"{round(duration_s / 60)} min"


def _mean_run_duration_s(entries: Sequence[ComparisonEntry]) -> float:
    durations_s = [entry.result.clock.duration_s for entry in entries if entry.result is not None]
    return _STARTUP_S + (sum(durations_s) / len(durations_s) if durations_s else 0.0)


def _read_profile(index: int, entry: ComparisonEntry) -> tuple[Path | None, str, str | None]:
    """Return the path and the name of the profile of a run, and the reason why the profile cannot
    be measured (None if it can)."""
    from app.storage.run_directory import SPEC
    from app.wiring.profile_runs import require_measurable_profile

    run_label, spec_path = format_run_label(index, entry), entry.path / SPEC
    if not spec_path.is_file():
        problem = "{run} comes from another tool and has no profile. Run the command in a terminal with your profiles."
        return None, entry.name, problem.format(run=run_label)
    try:
        return spec_path, require_measurable_profile(str(spec_path)).name, None
    except (SizewiseError, OSError, UnicodeDecodeError) as error:
        hint = error.hint if isinstance(error, SizewiseError) else None
        reason = shorten(". ".join(part for part in (str(error), hint) if part), _MAX_CHARACTERS)
        return spec_path, entry.name, f"The profile of {run_label} cannot be measured here: {reason}"
