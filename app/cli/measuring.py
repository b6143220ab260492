"""What `run` and `quickstart` share: one session with its listeners, its signals, its report and its exit code."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from app.cli.progress import Progress, open_progress
from app.cli.rendering import COMMAND
from app.cli.signals import stoppable
from app.cli.streams import leaving_reader
from app.errors import SizewiseError, StorageError
from app.profiles.profile import Profile
from app.profiles.resolved import spec_yaml
from app.records.events import Event, RunFinished, RunStarted
from app.reporting import NOT_DRAWN, build_report
from app.session.run import RunOutcome, run
from app.session.spec import RunSpec
from app.storage.run_directory import REPORT_HTML, REPORT_JSON, RunWriter, StoredRun, new_run_id, runs_home
from app.wiring.parts import build_parts
from app.wiring.spec import build_spec
from app.wiring.workers import RemoteWorkers, gather_of
from loadgen.records import Gather
from reports.html import render_html
from reports.text import render_text


def measure(profile: Profile, arguments: argparse.Namespace, remote: RemoteWorkers | None = None) -> int:
    """Run the profile, with `remote` workers too, and return the exit code; what was measured is stored however it
    ends."""
    started_at = datetime.now(UTC)
    run_id = new_run_id(profile.name, started_at)
    directory = arguments.out or runs_home() / run_id
    spec = build_spec(profile, run_id, today=started_at.date(), recalibrate=arguments.recalibrate)
    gather = gather_of(profile, remote)
    try:
        outcome, text = _stored(profile, spec, directory, gather, mirror=arguments.events == "-")
    except OSError as error:
        hint = "What was measured until then is there: `sizewise.open_run` in Python reads it."
        raise StorageError(f"{directory} could not be written: {error.strerror}", hint=hint) from error
    with leaving_reader():
        _print(outcome, text, str(directory), arguments)
    return outcome.result.exit.code


def _stored(
    profile: Profile, spec: RunSpec, directory: Path, gather: Gather | None, *, mirror: bool
) -> tuple[RunOutcome, str]:
    """The run, and its report as text. Raises OSError where the directory cannot be written, be it on closing it."""
    with RunWriter(directory) as store, open_progress() as progress, stoppable() as interruption:
        emit = _listeners(store, progress, mirror=mirror)
        now_ns = time.perf_counter_ns
        emit(RunStarted(now_ns(), spec.run_id, spec.name, str(directory.resolve()), os.getpid()))
        store.write_spec(spec_yaml(profile))
        try:
            outcome = run(spec, build_parts(profile, store, gather), emit, interruption)
        except SizewiseError as error:
            emit(RunFinished(now_ns(), error.exit_code.name, int(error.exit_code), str(error)))
            raise
        text = _report(outcome, store, spec_yaml(profile))
        status = outcome.result.verdict.status
        emit(RunFinished(now_ns(), status, outcome.result.exit.code, "; ".join(outcome.result.exit.causes)))
    return outcome, text


def _report(outcome: RunOutcome, store: RunWriter, spec_text: str) -> str:
    rows = StoredRun(store.directory).requests(NOT_DRAWN)
    report = build_report(outcome.result, rows, outcome.telemetry, spec_text, COMMAND, outcome.result_text)
    store.write_file(REPORT_JSON, msgspec.json.encode(report))
    store.write_file(REPORT_HTML, render_html(report).encode())
    return render_text(report)


def _print(outcome: RunOutcome, text: str, directory: str, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(outcome.result_text)
    where = sys.stderr if arguments.json or arguments.events else sys.stdout
    print(text, file=where)
    print(f"Report: {directory}/{REPORT_HTML}", file=where)
    for place, cause in enumerate(outcome.result.exit.causes):
        print(f"{'and also' if place else f'exit {outcome.result.exit.code}'}: {cause}", file=sys.stderr)


def _listeners(store: RunWriter, progress: Progress, *, mirror: bool) -> Callable[[Event], None]:
    encode = msgspec.json.Encoder().encode
    is_mirrored = mirror

    def emit(event: Event) -> None:
        nonlocal is_mirrored
        store.append_event(event)
        progress.show(event)
        if is_mirrored:
            with leaving_reader() as reader:
                sys.stdout.buffer.write(encode(event) + b"\n")
                sys.stdout.buffer.flush()
            is_mirrored = not reader.has_left

    return emit
