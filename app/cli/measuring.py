"""Run the measurement of `run` and `quickstart`: event listeners, signal handling, report and exit
code.

In GitHub Actions, the module also writes the job summary, and annotations for lines of the profile.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from app.analysis.gating import DEFAULT_GATING, Gating, list_warnings
from app.cli.colors import print_with_colors
from app.cli.options import OutputFormat, ProgressOptions, Verbosity
from app.cli.planned_work import format_search_estimate
from app.cli.progress import ProgressView, open_progress
from app.cli.secret_consent import request_consent
from app.cli.signals import handle_stop_signals
from app.cli.streams import escape_controls, get_text_width, ignore_broken_pipe, print_whole, warn
from app.errors import OPEN_FILES_HINT, SizewiseError, StorageError, UsageError, is_too_many_open_files
from app.extras import find_missing_package, require_extra
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.local import LocalProfile
from app.profiles.objective_lines import find_objective_lines
from app.profiles.profile import Profile, list_required_extras
from app.profiles.resolved import format_spec
from app.records.events import Event, RunFinished, RunStarted
from app.records.interrupted import InterruptedRun
from app.records.planning_inputs import PlanningInputs
from app.records.result import Objective
from app.reporting.report import build_report
from app.reporting.rows import UNUSED_COLUMNS
from app.reporting.sidecars import write_sidecars
from app.reporting.stored import COMMAND
from app.session.interruption import Interruption
from app.session.local.run import run_locally
from app.session.run import RunOutcome, run
from app.session.spec import BaselineSpec, RunSpec
from app.storage.bundle import is_reserved_run_id, is_valid_run_id
from app.storage.checksums import write_checksums
from app.storage.resuming import read_interrupted_run, reopen_run
from app.storage.run_directory import (
    REPORT_HTML,
    RunWriter,
    StoredRun,
    find_free_directory,
    link_run,
    new_run_id,
    runs_home,
)
from app.wiring.dependencies import build_dependencies
from app.wiring.local_dependencies import build_local_dependencies
from app.wiring.local_spec import build_local_spec
from app.wiring.planned_work import estimate_search
from app.wiring.spec import build_spec
from app.wiring.stored_runs import load_stored_profile
from app.wiring.workers import RemoteWorkers, build_gather
from app.wiring.workload import check_tokenizers
from reports.annotations import build_workflow_commands
from reports.formats import RUN_FILES
from reports.markdown import MAX_BYTES, render_markdown
from reports.model import Report
from reports.rendering import render
from reports.text import render_text


def write_github_annotations(report: Report, profile_argument: str | None, environment: Mapping[str, str]) -> None:
    """Write the job summary and annotations in GitHub Actions; do nothing elsewhere.

    `profile_argument` is the argument of the command: a file or the name of a bundled profile.
    """
    summary_path = environment.get("GITHUB_STEP_SUMMARY")
    if summary_path:
        _append_job_summary(Path(summary_path), report)
    if environment.get("GITHUB_ACTIONS"):
        path = Path(profile_argument) if profile_argument and Path(profile_argument).is_file() else None
        objective_lines = {} if path is None else find_objective_lines(path)
        annotation_path = None if path is None else _make_repository_relative(path, environment.get("GITHUB_WORKSPACE"))
        for command in build_workflow_commands(report, annotation_path, objective_lines):
            print_whole(command, sys.stderr)


def _append_job_summary(path: Path, report: Report) -> None:
    """Append the report to the job summary, shortened if the summary would exceed its maximum size.
    Existing content is preserved."""
    try:
        existing_bytes = path.stat().st_size if path.exists() else 0
        with path.open("ab") as file:
            file.write(render_markdown(report, MAX_BYTES - existing_bytes).encode())
    except OSError as error:  # the run is stored, so the exit code does not change
        print(f"the job summary could not be written: {error.strerror}", file=sys.stderr)


def _make_repository_relative(path: Path, workspace: str | None) -> str:
    """Return the path relative to the root of the checkout, as GitHub expects; a path outside the
    checkout is returned unchanged."""
    absolute_path = path.resolve()
    is_inside = workspace and absolute_path.is_relative_to(Path(workspace).resolve())
    return (
        absolute_path.relative_to(Path(workspace).resolve()).as_posix() if workspace and is_inside else path.as_posix()
    )


RunSession = Callable[[RunWriter, Callable[[Event], None], Interruption], RunOutcome]
_INCOMPLETE_RUN_HINT = "Read the results so far with `sizewise.open_run` in Python."


class NewRun(msgspec.Struct, frozen=True):
    """Run ID, directory and SLO of a run that is about to start."""

    run_id: str
    name: str
    spec_text: str
    directory: Path
    slo: tuple[Objective, ...]
    started_at: datetime
    has_requests: bool = True
    """False for a model on this machine, which has no requests that could finish or be canceled."""


class MeasuredRun(msgspec.Struct, frozen=True):
    """Result and report of a completed and stored run."""

    outcome: RunOutcome
    report: Report
    directory: Path


def measure_profile(
    profile: Profile,
    progress: ProgressOptions,
    remote_workers: RemoteWorkers | None,
    gating: Gating,
    baseline: BaselineSpec | None,
    *,
    allowed_hosts: Sequence[str],
    out: Path | None,
    table_format: OutputFormat | None,
    profile_argument: str | None,
    on_measured: Callable[[], None] = lambda: None,
) -> int:
    """Run the profile, evaluate the result against the baseline, and return the exit code.

    If `remote_workers` is set, workers on other machines send the load. The results are stored even
    if the run is interrupted. `on_measured` is called after a run that has measured something.
    Secrets and files may be sent to `allowed_hosts`; for `profile_argument`, see `write_github_annotations`.
    """
    request_consent([profile], allowed_hosts)
    _print_search_estimate(profile, progress.verbosity)
    new_run = _create_run(profile, out)
    run_session = _build_session(profile, new_run, remote_workers, gating, baseline, recalibrate=progress.recalibrate)
    measured_run = _run_and_store(new_run, run_session, None, progress)
    if measured_run.outcome.result.stages:
        on_measured()
    return show_run(measured_run, progress, gating, table_format, profile_argument)


def _print_search_estimate(profile: Profile, verbosity: Verbosity) -> None:
    """Print how long the profile's search for the max rate takes, if it has one."""
    search_spec = None if isinstance(profile, LocalProfile) else profile.load.search
    if search_spec is None or verbosity == "quiet" or isinstance(profile, LocalProfile):
        return
    planned_search = estimate_search(search_spec, profile.complete_slo, profile.target.timeouts.total_s)
    print(format_search_estimate(planned_search, search_spec.max_duration_s), file=sys.stderr)


def measure_demonstration(
    profile: EndpointProfile, progress: ProgressOptions, out: Path | None, shape_inputs: PlanningInputs | None = None
) -> MeasuredRun:
    """Run the profile as a demonstration (see `RunSpec.is_demonstration`), and store it in `out`,
    by default in the runs folder. `shape_inputs` are the inputs of a separate plan for a language
    model that is not measured. Only progress is printed. Raises UnavailableError if the runtime of
    the model is not installed."""
    _require_extras(profile)
    new_run = _create_run(profile, out)
    spec = build_spec(
        profile,
        new_run.run_id,
        today=new_run.started_at.date(),
        recalibrate=True,
        is_demonstration=True,
        shape_inputs=shape_inputs,
    )
    return _run_and_store(new_run, _build_endpoint_session(profile, spec, None), None, progress)


def show_run(
    measured_run: MeasuredRun,
    progress: ProgressOptions,
    gating: Gating = DEFAULT_GATING,
    table_format: OutputFormat | None = None,
    profile_argument: str | None = None,
) -> int:
    """Print the summary of a run, write annotations in GitHub Actions, and return the exit code of
    the run."""
    with ignore_broken_pipe():
        _print_summary(measured_run, progress, gating, table_format)
    write_github_annotations(measured_run.report, profile_argument, os.environ)
    return measured_run.outcome.result.exit.code


def resume_run(
    run_to_resume: StoredRun,
    progress: ProgressOptions,
    remote_workers: RemoteWorkers | None,
    gating: Gating,
    read_baseline: Callable[[str], BaselineSpec | None],
    *,
    allowed_hosts: Sequence[str],
) -> int:
    """Resume an interrupted run in its directory, and return the exit code of the whole run.

    Raises UsageError if the run cannot be resumed.
    """
    interrupted_run = read_interrupted_run(run_to_resume)
    profile = load_stored_profile(run_to_resume)
    _require_extras(profile)
    request_consent([profile], allowed_hosts)
    run_id = interrupted_run.run_id
    spec_text, resumed_at = run_to_resume.spec_text or "", datetime.now(UTC)
    spec = build_spec(
        profile,
        run_id,
        today=resumed_at.date(),
        recalibrate=progress.recalibrate,
        gating=gating,
        baseline=read_baseline(profile.name),
    )
    measured_run = _run_and_store(
        NewRun(run_id, profile.name, spec_text, run_to_resume.directory, spec.slo, resumed_at),
        _build_endpoint_session(profile, spec, remote_workers, interrupted_run),
        lambda: reopen_run(run_to_resume, interrupted_run),
        progress,
    )
    return show_run(measured_run, progress, gating)


def _create_run(profile: Profile, out: Path | None) -> NewRun:
    started_at = datetime.now(UTC)
    run_id = _build_run_id(out, profile.name, started_at)
    directory = runs_home() / run_id if out is None else find_free_directory(out, run_id)
    if out is not None and directory != out:
        warn(f"{out} already contains a run, so this run is stored in {directory}")
    has_requests = not isinstance(profile, LocalProfile)
    return NewRun(run_id, profile.name, format_spec(profile), directory, profile.complete_slo, started_at, has_requests)


def _run_and_store(
    new_run: NewRun, run_session: RunSession, reopen: Callable[[], RunWriter] | None, progress: ProgressOptions
) -> MeasuredRun:
    directory, verbosity = new_run.directory, progress.verbosity
    try:
        outcome, report = _run_session(new_run, run_session, reopen, verbosity, mirrors_events=progress.events == "-")
        write_checksums(directory, (*RUN_FILES.values(), *(download.name for download in report.downloads)))
    except OSError as error:
        hint = OPEN_FILES_HINT if is_too_many_open_files(error) else _INCOMPLETE_RUN_HINT
        raise StorageError(f"{directory} could not be written: {error.strerror}", hint=hint) from error
    return MeasuredRun(outcome, report, directory)


def _build_run_id(out: Path | None, name: str, started_at: datetime) -> str:
    """Return the run ID. If `out` is a directory in the runs folder, the ID is the directory name,
    because runs in that folder are found by directory name. Otherwise, a new ID is generated.
    Raises UsageError if the ID would be a reserved word."""
    if out is not None and out.resolve().parent == runs_home().resolve():
        if is_reserved_run_id(out.name):
            hint = "Choose another name with --out."
            raise UsageError(f"a run cannot have the ID {out.name!r}, which stands for another run", hint=hint)
        if is_valid_run_id(out.name):
            return out.name
    return new_run_id(name, started_at)


def _require_extras(profile: Profile) -> None:
    """Raise UnavailableError if a package is not installed that the run would need: to execute the
    profile's model, or to plan for its traffic."""
    for extra in list_required_extras(profile):
        require_extra(extra)


def _build_session(
    profile: Profile,
    new_run: NewRun,
    remote_workers: RemoteWorkers | None,
    gating: Gating,
    baseline: BaselineSpec | None,
    *,
    recalibrate: bool,
) -> RunSession:
    """Build the session of a profile. Only the trial of a tokenizer is started. Raises UsageError or
    UnavailableError."""
    _require_extras(profile)
    if isinstance(profile, LocalProfile):
        if remote_workers is not None:
            raise UsageError(
                "remote workers need an endpoint, but this profile runs a model on this machine",
                hint="Remove --remote-workers and --bind.",
            )
        local_spec = build_local_spec(profile, new_run.run_id, gating, baseline)
        return lambda store, emit, stop: run_locally(local_spec, build_local_dependencies(profile, store), emit, stop)
    today = new_run.started_at.date()
    spec = build_spec(profile, new_run.run_id, today=today, recalibrate=recalibrate, gating=gating, baseline=baseline)
    return _build_endpoint_session(profile, spec, remote_workers)


def _build_endpoint_session(
    profile: EndpointProfile,
    spec: RunSpec,
    remote_workers: RemoteWorkers | None,
    interrupted_run: InterruptedRun | None = None,
) -> RunSession:
    check_tokenizers(spec.workload)
    gather = build_gather(profile, remote_workers)
    return lambda store, emit, stop: run(spec, build_dependencies(profile, store, gather), emit, stop, interrupted_run)


def _run_session(
    new_run: NewRun,
    run_session: RunSession,
    reopen: Callable[[], RunWriter] | None,
    verbosity: Verbosity,
    *,
    mirrors_events: bool,
) -> tuple[RunOutcome, Report]:
    """Run the session and build its report. `reopen` opens the directory of a run that is resumed.

    Raises OSError if the directory cannot be written; some write errors are reported only when the
    directory is closed.
    """
    open_store = reopen or (lambda: RunWriter(new_run.directory))
    with (
        handle_stop_signals(has_requests=new_run.has_requests) as interruption,
        open_store() as store,
        open_progress(verbosity) as progress,
    ):
        emit = _build_event_listener(store, progress, mirrors_events=mirrors_events)
        now_ns = time.perf_counter_ns
        if reopen is None:
            directory = str(new_run.directory.resolve())
            run_started = RunStarted(
                now_ns(),
                new_run.run_id,
                new_run.name,
                directory,
                os.getpid(),
                new_run.slo,
                is_local=not new_run.has_requests,
                started_at=new_run.started_at.isoformat(),
            )
            emit(run_started)
            store.write_spec(new_run.spec_text)
            link_run(new_run.directory, new_run.run_id)
        try:
            outcome = run_session(store, emit, interruption)
        except SizewiseError as error:
            if reopen is None:  # a run that could not be resumed is left unchanged
                emit(RunFinished(now_ns(), error.exit_code.name, int(error.exit_code), (str(error),)))
            raise
        report = _write_reports(outcome, store, new_run.spec_text)
        run_exit = outcome.result.exit
        emit(RunFinished(now_ns(), outcome.result.verdict.status, run_exit.code, run_exit.texts))
    return outcome, report


def _write_reports(outcome: RunOutcome, store: RunWriter, spec_text: str) -> Report:
    rows = StoredRun(store.directory).requests(UNUSED_COLUMNS)
    report = build_report(outcome.result, rows, outcome.telemetry, spec_text, COMMAND, outcome.result_text)
    report = write_sidecars(report, store.directory, store.directory / REPORT_HTML)
    missing_package = find_missing_package("report")
    for format_id, file_name in RUN_FILES.items():
        if format_id == "html" and missing_package is not None:
            next_step = f"{missing_package.hint} Then run `sizewise report {store.directory}`."
            warn(f"{file_name} was not written: {missing_package}. {next_step}")
        else:
            store.write_file(file_name, render(report, format_id, warn).encode())
    return report


def _print_summary(
    measured_run: MeasuredRun, progress: ProgressOptions, gating: Gating, table_format: OutputFormat | None
) -> None:
    outcome = measured_run.outcome
    if progress.json:
        print_whole(outcome.result_text)
    if table_format is not None and measured_run.report.local is not None:
        from app.cli.language_model_table import print_test_table

        print_test_table(measured_run.report.local, table_format)
    stream = sys.stderr if progress.json or progress.events or table_format else sys.stdout
    print_with_colors(render_text(measured_run.report, get_text_width(stream), with_marks=True), stream)
    report_path = measured_run.directory / REPORT_HTML
    print(f"Report: {report_path}" if report_path.exists() else f"Run: {measured_run.directory}", file=stream)
    for warning in list_warnings(outcome.result, gating):
        warn(warning)
    exit_code = outcome.result.exit.code
    exit_text = f"exit {exit_code}" if exit_code else "exit 0 (demonstration)"
    for index, cause_text in enumerate(outcome.result.exit.texts):
        print(f"{'also' if index else exit_text}: {cause_text}", file=sys.stderr)


def _build_event_listener(store: RunWriter, progress: ProgressView, *, mirrors_events: bool) -> Callable[[Event], None]:
    encode = msgspec.json.Encoder().encode

    def emit(event: Event) -> None:
        nonlocal mirrors_events
        store.append_event(event)
        progress.show(event)
        if mirrors_events:
            with ignore_broken_pipe() as pipe_state:
                sys.stdout.buffer.write(escape_controls(encode(event).decode()).encode() + b"\n")
                sys.stdout.buffer.flush()
            mirrors_events = not pipe_state.is_closed

    return emit
