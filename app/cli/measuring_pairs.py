"""Measure two profiles in interleaved A/B pairs, for `compare --measure`.

`runs attach` and `runs stop` also accept such a measurement.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from app.cli.options import VerbosityOptions, parse_verbosity
from app.cli.progress import open_progress
from app.cli.secret_consent import request_consent
from app.cli.signals import handle_stop_signals
from app.errors import ExitCode, SizewiseError, UsageError
from app.records.comparison import Comparison
from app.records.events import Event, NoteAdded, PhaseChanged, RunFinished, RunStarted
from app.reporting.comparison import format_pairs_name
from app.session.control import CommandPoller
from app.session.interleaved import PairPlan, PairResults, measure_interleaved
from app.storage.comparisons import ComparisonWriter, comparisons_home
from app.storage.run_directory import new_run_id
from app.wiring.profile_runs import ProfileRuns, require_measurable_profile

if TYPE_CHECKING:
    from app.cli.compare import PairsOptions


def measure_pairs(
    baseline: str,
    candidates: Sequence[str],
    options: PairsOptions,
    verbosity: VerbosityOptions,
    pair_plan: PairPlan,
    compare: Callable[[PairResults], Comparison],
    report: Callable[[Comparison], int],
) -> int:
    """Measure pairs of runs of two profiles, pass their comparison to `report`, and return the exit code that
    `report` returns.

    The runs are stored even if the measurement is interrupted.
    """
    if len(candidates) != 1:
        raise UsageError(
            "--measure requires exactly two profiles", hint="Specify the baseline profile and the candidate profile."
        )
    profiles = [require_measurable_profile(profile) for profile in (baseline, candidates[0])]
    request_consent(profiles, options.allow_secrets)
    name = format_pairs_name(profiles[0].name, profiles[1].name)
    run_id = new_run_id(name, datetime.now(UTC))
    with ComparisonWriter(options.record or comparisons_home() / run_id) as store:
        directory = store.directory.resolve()
        store.append_event(RunStarted(time.perf_counter_ns(), directory.name, name, str(directory), os.getpid()))
        try:
            pair_results = _measure_pair_runs((baseline, candidates[0]), verbosity, pair_plan, store)
            comparison = compare(pair_results)
            store.write_comparison(comparison)
            exit_code = report(comparison)
        except SizewiseError as error:
            store.append_event(_build_finish_event(int(error.exit_code), error.exit_code.name, str(error)))
            raise
        store.append_event(_build_finish_event(exit_code, ExitCode(exit_code).name, " ".join(pair_results.notes)))
    return exit_code


def _measure_pair_runs(
    profiles: tuple[str, str], verbosity: VerbosityOptions, pair_plan: PairPlan, store: ComparisonWriter
) -> PairResults:
    with open_progress(parse_verbosity(verbosity)) as progress, handle_stop_signals() as interruption:

        def emit(event: Event) -> None:
            store.append_event(event)
            progress.show(event)

        def report_phase(message: str) -> None:
            emit(PhaseChanged(time.perf_counter_ns(), "pairs", message))

        def add_note(text: str) -> None:
            emit(NoteAdded(time.perf_counter_ns(), text))

        report_phase("two profiles are measured in interleaved A/B pairs, each run in a new process")
        profile_runs = ProfileRuns(*profiles, interruption, emit)
        with CommandPoller(
            store,
            interruption,
            add_note=add_note,
            change_rate=_reject_stage_command,
            extend_stage=_reject_stage_command,
        ):
            return measure_interleaved(pair_plan, profile_runs.measure, time.monotonic, report_phase)


def _reject_stage_command(_: float) -> str:
    hint = "Use one of its runs; list them with `sizewise runs list`."
    raise UsageError("this is a comparison, which has no stage", hint=hint)


def _build_finish_event(exit_code: int, status: str, message: str) -> RunFinished:
    return RunFinished(time.perf_counter_ns(), status, exit_code, (message,) if message else ())
