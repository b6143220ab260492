"""List, show, label, share, delete and restore stored runs, and control an active run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

from app.cli.commands import PATH, Command, CommandGroup, CommandOption
from app.cli.options import (
    OutputOptions,
    Verbosity,
    VerbosityOptions,
    complete_runs,
    json_option,
    output_options,
    parse_output,
    parse_verbosity,
    run_argument,
    verbosity_options,
)
from app.cli.run import RESUME_COMMAND
from app.cli.streams import print_whole
from app.errors import ExitCode, StorageError, UsageError
from reports.shortening import shorten

if TYPE_CHECKING:
    from app.analysis.comparisons.series import MetricHistory
    from app.records.control import ControlCommand
    from app.storage.run_directory import StoredRun
    from reports.sections.section import Column


def _rename_run(run: str, title: str) -> int:
    from app.storage.labels import set_title
    from app.storage.run_directory import find_run

    labels = set_title(find_run(run).directory, title)
    print(f"title: {labels.title or 'none'}")
    return 0


def _tag_run(run: str, tags: tuple[str, ...], remove: bool) -> int:
    from app.cli.tables import format_cell
    from app.storage.labels import add_tags, remove_tags
    from app.storage.run_directory import find_run

    change_tags = remove_tags if remove else add_tags
    labels = change_tags(find_run(run).directory, tags)
    print(f"tags: {format_cell(', '.join(labels.tags) or 'none')}")
    return 0


def _add_note(run: str, text: str) -> int:
    from datetime import UTC, datetime

    from app.storage.run_directory import find_run
    from app.wiring.stored_runs import add_run_note

    print(add_run_note(find_run(run).directory, text, datetime.now(UTC)))
    return 0


def _export_run(run: str, out: Path | None) -> int:
    from app.records.bundle import BUNDLE_EXTENSION
    from app.storage.run_directory import find_run
    from app.wiring.sharing_runs import share_run

    stored_run = find_run(run)
    bundle_path = out or Path(f"{stored_run.complete_result.run_id}{BUNDLE_EXTENSION}")
    bundle = share_run(stored_run, bundle_path)
    print(f"{bundle_path}: {bundle.run_id}, {len(bundle.files)} files, {bundle_path.stat().st_size / 2**20:,.1f} MiB")
    return 0


def _export_trace(run: str, out: Path | None, stage: str | None) -> int:
    from app.records.events import StageFinished
    from app.storage.run_directory import find_run
    from app.storage.trace_export import UNUSED_COLUMNS, export_trace

    stored_run = find_run(run)
    path = out or Path(f"{stored_run.complete_result.run_id}.csv")
    stages = [event.data for event in stored_run.events() if isinstance(event, StageFinished)]
    trace = export_trace(stages, stored_run.requests(UNUSED_COLUMNS), path, stage)
    lengths = "" if trace.has_tokens else " without token counts"
    omitted = f"; {trace.omitted_count:,} with unknown token counts are omitted" if trace.omitted_count else ""
    print(f"{path}: {trace.request_count:,} requests{lengths}{omitted}")
    return 0


def _import_run(bundle: Path) -> int:
    from app.wiring.sharing_runs import import_shared_run

    directory, is_new = import_shared_run(bundle)
    print(directory if is_new else f"{directory} already contains this run")
    return 0


def _delete_runs(runs: tuple[str, ...], purge: bool) -> int:
    from datetime import UTC, datetime

    from app.storage.run_directory import find_run
    from app.storage.trash import delete_runs, purge_trash

    if bool(runs) == purge:
        raise UsageError(
            "either runs or --purge must be specified",
            hint="Specify the runs, or use only --purge to permanently delete old runs from the trash.",
        )
    now = datetime.now(UTC)
    if purge:
        purged_names = purge_trash(now)
        print(
            "\n".join(f"{name} was permanently deleted" for name in purged_names)
            or "no run in the trash is older than 30 days"
        )
        return 0
    runs_by_directory = {run.directory.resolve(): run for run in map(find_run, runs)}
    delete_runs([*runs_by_directory.values()], now)
    for directory in runs_by_directory:
        print(f"{directory.name} was moved to the trash; restore it with `sizewise runs restore {directory.name}`")
    return 0


def _restore_run(run: str) -> int:
    from app.storage.trash import restore_run

    print(restore_run(run))
    return 0


_POLL_INTERVAL_S = 0.1


def _attach_to_run(run: str, verbosity: VerbosityOptions) -> int:
    from app.storage.run_directory import find_run

    stored_run = find_run(run)
    try:
        return _follow_run(stored_run, parse_verbosity(verbosity))
    except KeyboardInterrupt:
        name = stored_run.directory.name
        print(f"the run continues; follow it again with `sizewise runs attach {name}`", file=sys.stderr)
        return ExitCode.INTERRUPTED


def _follow_run(run: StoredRun, verbosity: Verbosity) -> int:
    """Show the events of a run until the run ends, and return its exit code. Raises StorageError if
    the process of the run ended without a result."""
    import threading

    from app.cli.progress import open_progress
    from app.cli.tables import format_cell
    from app.storage.following import RunFollower

    follower, pause_event, is_active = RunFollower(run.directory), threading.Event(), True
    with open_progress(verbosity) as progress:
        while (finished_event := follower.finished_event) is None:
            event = follower.read_next()
            if event is not None:
                progress.show(event)
            elif not is_active:
                hint = "Read the results so far with `sizewise.open_run` in Python."
                raise StorageError(f"the process of {run.directory} ended without a result", hint=hint)
            else:  # read once more after the process has ended, since it may just have written events
                is_active = follower.is_active()
                pause_event.wait(_POLL_INTERVAL_S if is_active else 0)
    print(f"{run.directory.name}: {finished_event.status}", file=sys.stderr)
    for cause in finished_event.causes:
        print(f"exit {finished_event.exit_code}: {format_cell(cause)}", file=sys.stderr)
    return finished_event.exit_code


_MAX_CELL_CHARACTERS = 60
_MAX_TARGET_CHARACTERS = 24


class _Selection(NamedTuple):
    """Options that select the runs of a list."""

    tags: tuple[str, ...]
    validity: Literal["VALID", "WARN", "INVALID"] | None
    words: tuple[str, ...]
    deleted: bool
    limit: int | None


def _list_runs(selection: _Selection, requested_output: OutputOptions) -> int:
    from app.cli.colors import print_with_colors
    from app.cli.tables import format_table, print_json

    output, rows = parse_output(requested_output), _build_rows(selection)
    if output == "json":
        print_json(rows)
    elif output == "table" and not rows:
        print(_format_empty_message(selection))
    else:
        columns = _build_columns() if output == "csv" else _list_used_columns(rows)
        print_with_colors(format_table(columns, rows, output))
    return 0


def _format_empty_message(selection: _Selection) -> str:
    if selection.deleted:
        return "the trash is empty"
    if selection.words or selection.validity:
        return "no run matches"
    return "no run has this tag" if selection.tags else "no runs are stored yet; start with `sizewise quickstart`"


def _build_columns() -> tuple[Column[dict[str, Any]], ...]:
    from reports.sections.section import Column

    return (
        Column("run_id", "run", lambda row: row["run_id"]),
        Column("started_at", "", lambda row: row["started_at"]),
        Column("", "started (UTC)", lambda row: _format_time(row["started_at"])),
        Column("", "target", lambda row: shorten(_format_target(row), _MAX_TARGET_CHARACTERS)),
        Column("name", "", lambda row: row["name"]),
        Column("protocol", "", lambda row: row["protocol"]),
        Column("url", "", lambda row: row["url"]),
        Column("model", "", lambda row: row["model"]),
        Column("outcome", "outcome", lambda row: row["outcome"], is_status=True),
        Column("validity", "validity", lambda row: row["verdict"] or row["state"], is_status=True),
        Column("headline", "headline", lambda row: row["headline"]),
        Column("max_rate_per_s", "", lambda row: row["max_rate_per_s"]),
        Column("", "duration", lambda row: _format_duration(row["duration_s"])),
        Column("duration_s", "", lambda row: row["duration_s"]),
        Column("exit_code", "", lambda row: row["exit_code"]),
        Column("", "title", lambda row: shorten(row["title"] or "", _MAX_CELL_CHARACTERS)),
        Column("title", "", lambda row: row["title"]),
        Column("tags", "tags", lambda row: ", ".join(row["tags"])),
        Column("", "notes", lambda row: shorten(_join_notes(row), _MAX_CELL_CHARACTERS)),
        Column("notes", "", _join_notes),
        Column("deleted_at", "deleted", lambda row: row.get("deleted_at")),
        Column("directory", "", lambda row: row["directory"]),
    )


_OPTIONAL_TITLES = ("title", "tags", "notes", "deleted")


def _list_used_columns(rows: list[dict[str, Any]]) -> list[Column[dict[str, Any]]]:
    """Return the columns without those that only some runs fill and that are empty for all runs."""
    return [
        column
        for column in _build_columns()
        if column.label not in _OPTIONAL_TITLES or any(column.read_cell(row) for row in rows)
    ]


def _format_time(text: str | None) -> str | None:
    from datetime import UTC, datetime

    return None if text is None else datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _format_duration(duration_s: float | None) -> str | None:
    from reports.formatting import THIN_SPACE, format_duration

    return None if duration_s is None else format_duration(duration_s).replace(THIN_SPACE, " ")


def _format_target(row: dict[str, Any]) -> str:
    """Return the URL of a run without its scheme, or else the model that was measured."""
    url, model = row["url"], row["model"]
    return str(url).rpartition("://")[2] if url else str(model or "n/a")


def _join_notes(row: dict[str, Any]) -> str:
    return "; ".join(note["text"] for note in row["notes"])


def _build_rows(selection: _Selection) -> list[dict[str, Any]]:
    """Return the matching runs, oldest first; with --limit, only the newest ones."""
    from msgspec import to_builtins

    from app.reporting.run_rows import filter_rows, list_deleted_rows, list_runs

    select = partial(filter_rows, words=" ".join(selection.words), tags=selection.tags, validity=selection.validity)
    if selection.deleted:
        rows = [
            to_builtins(deleted_row.run) | {"deleted_at": deleted_row.deleted_at.isoformat(timespec="seconds")}
            for deleted_row in list_deleted_rows()
            if select([deleted_row.run])
        ]
    else:
        rows = [to_builtins(row) for row in select(list_runs().rows)]
    return rows if selection.limit is None else rows[-selection.limit :]


def _show_run(run: str, json: bool) -> int:
    from app.cli.colors import print_with_colors
    from app.cli.streams import get_text_width
    from app.reporting.stored import build_stored_report
    from app.storage.run_directory import find_run
    from reports.text import render_text

    stored_run = find_run(run)
    if json and stored_run.result_text is not None:
        _ = stored_run.complete_result  # raises an error if the run is damaged, so that no damaged result is printed
        print_whole(stored_run.result_text)
        return 0
    print_with_colors(render_text(build_stored_report(stored_run), get_text_width(sys.stdout), with_marks=True))
    return 0


def _show_trend(name: str | None, metric: str | None, requested_output: OutputOptions) -> int:
    from app.analysis.comparisons.series import MIN_VALUES
    from app.cli.tables import format_cell, format_table, print_json
    from app.reporting.run_rows import build_trend, format_metric_name
    from reports.formatting import format_count_noun

    output = parse_output(requested_output)
    trend = build_trend(name)
    runs = trend.runs
    series = [history for history in trend.series if metric in (None, format_metric_name(history))]
    if not series:
        metric_text, profile_text = metric or "metrics", name or "this profile"
        raise UsageError(f"no run of {profile_text} has {metric_text} ({format_count_noun(len(runs), 'run')})")
    if output == "json":
        print_json(series)
        return 0
    table = format_table(_build_trend_columns(), series, output)
    if output != "table":
        print_whole(table)
        return 0
    excluded_text = (
        f"; {trend.excluded_count} excluded (INVALID, or another machine or workload)" if trend.excluded_count else ""
    )
    first_id, last_id = format_cell(runs[0].run_id), format_cell(runs[-1].run_id)  # imported runs are untrusted
    print(f"{format_cell(trend.name)}: {len(runs)} runs, {first_id} to {last_id}{excluded_text}")
    print_whole(table)
    if len(runs) < MIN_VALUES:
        print(f"Change detection needs at least {MIN_VALUES} runs.")
    return 0


def _build_trend_columns() -> tuple[Column[MetricHistory], ...]:
    from app.records.metrics import unscaled_unit
    from app.reporting.run_rows import format_change, format_metric_name
    from reports.sections.section import Column

    def format_changes(history: MetricHistory) -> str:
        return "; ".join(format_change(history, index) for index in range(len(history.changes)))

    return (
        Column("metric", "metric", format_metric_name),
        Column("stage", "stage"),
        Column("runs", "runs", lambda history: len(history.values)),
        Column("first", "first", lambda history: history.values[0]),
        Column("last", "last", lambda history: history.values[-1]),
        Column("unit"),
        Column("", "unit", lambda history: unscaled_unit(history.unit)),
        Column("", "changed", lambda history: format_changes(history) or "no"),
        Column("changes", "", format_changes),
    )


def _promote_run(run: str) -> int:
    from app.cli.tables import format_cell
    from app.storage.run_directory import find_run
    from app.wiring.sharing_runs import set_baseline

    result = set_baseline(find_run(run))
    print(f"{format_cell(result.run_id)} is now the baseline of {result.name!r}")
    return 0


def _stop_run(run: str) -> int:
    from app.records.control import StopRun

    return _send_command(run, StopRun())


def _change_rate(run: str, rate: str) -> int:
    return _send_command(run, _parse_command(_build_rate_command, rate))


def _extend_stage(run: str, duration: str) -> int:
    return _send_command(run, _parse_command(_build_extend_command, duration))


def _send_command(run: str, command: ControlCommand) -> int:
    from app.storage.control import send_command
    from app.storage.run_directory import find_run

    print(send_command(find_run(run).directory, command))
    return 0


def _parse_command(build_command: Callable[[str], ControlCommand], text: str) -> ControlCommand:
    from app.profiles.problems import BadValueError

    try:
        return build_command(text)
    except BadValueError as error:
        raise UsageError(str(error), hint=error.hint) from None


def _build_rate_command(rate: str) -> ControlCommand:
    from app.profiles.units import parse_rate_per_s
    from app.records.control import MAX_RATE_PER_S, SetRate

    rate_per_s = parse_rate_per_s(rate)
    if rate_per_s > MAX_RATE_PER_S:
        raise UsageError(f"{rate} is above the maximum of {MAX_RATE_PER_S:,.0f} req/s")
    return SetRate(rate_per_s)


def _build_extend_command(duration: str) -> ControlCommand:
    from app.profiles.units import parse_duration_s
    from app.records.control import MAX_EXTENSION_S, Extend

    duration_s = parse_duration_s(duration)
    if not 0 < duration_s <= MAX_EXTENSION_S:
        raise UsageError(f"the extension must be greater than 0 s and at most 1 day (got {duration})")
    return Extend(duration_s)


COMMAND = CommandGroup(
    "runs",
    [
        Command(
            "list",
            _list_runs,
            [
                CommandOption(
                    ["--tag", "tags"],
                    multiple=True,
                    metavar="TAG",
                    help="only runs with this tag; repeatable, all must match",
                ),
                CommandOption(
                    ["--validity"],
                    type=click.Choice(["VALID", "WARN", "INVALID"]),
                    help="only runs with this validity",
                ),
                CommandOption(
                    ["--find", "words"],
                    multiple=True,
                    metavar="WORDS",
                    help="only runs with all of these words in ID, name, title, target, tags or notes",
                ),
                CommandOption(["--deleted"], is_flag=True, help="list the runs in the trash, in order of deletion"),
                CommandOption(
                    ["--limit"],
                    type=click.IntRange(min=1),
                    metavar="N",
                    help="only the newest N of these runs (default: all)",
                ),
                *output_options(),
            ],
            documentation="List the stored runs with start, target, result and duration, oldest first.",
            examples=("sizewise runs list --tag nightly --validity VALID", "sizewise runs list --limit 10"),
        ),
        Command(
            "show",
            _show_run,
            [run_argument(), json_option()],
            documentation="Show the summary of a run.",
            examples=("sizewise runs show last",),
        ),
        Command(
            "trend",
            _show_trend,
            [
                click.Argument(["name"], required=False, help="name of the profile (default: profile of the last run)"),
                CommandOption(["--metric"], help="only this metric, like latency_ms.p95"),
                *output_options("print as JSON, with each run's value"),
            ],
            documentation="Show the metrics of a profile's runs over time, and where they changed.",
            examples=("sizewise runs trend quickstart --metric latency_ms.p95",),
        ),
        Command(
            "attach",
            _attach_to_run,
            [run_argument(), *verbosity_options()],
            documentation="Follow an active run and exit with its exit code; Ctrl-C detaches.",
            examples=("sizewise runs attach last",),
        ),
        RESUME_COMMAND,
        Command(
            "rename",
            _rename_run,
            [run_argument(), click.Argument(["title"], help='new title; an empty one ("") removes it')],
            documentation="Set a run's title; trends and baselines still use its name.",
            examples=('sizewise runs rename last "int8, batch 8"',),
        ),
        Command(
            "tag",
            _tag_run,
            [
                run_argument(),
                click.Argument(["tags"], nargs=-1, required=True, metavar="TAG...", help="words without spaces"),
                CommandOption(["--remove"], is_flag=True, help="remove these tags"),
            ],
            documentation="Add tags to a run, or remove them.",
            examples=("sizewise runs tag last nightly",),
        ),
        Command(
            "note",
            _add_note,
            [run_argument(), click.Argument(["text"], help="text of the note")],
            documentation="Add a note to a run; a note to an active run also appears in its events and result.",
            examples=('sizewise runs note last "driver updated"',),
        ),
        Command(
            "export",
            _export_run,
            [
                run_argument(),
                CommandOption(
                    ["-o", "--out"],
                    type=PATH,
                    metavar="FILE.zip",
                    help="output file (default: RUN_ID.sizewise.zip in the current directory)",
                ),
            ],
            documentation="Export a finished run as a zip file with checksums.",
            examples=("sizewise runs export last -o run.zip",),
        ),
        Command(
            "trace",
            _export_trace,
            [
                run_argument(),
                CommandOption(["--stage"], metavar="NAME", help="only this stage (default: all except warm-ups)"),
                CommandOption(
                    ["-o", "--out"],
                    type=PATH,
                    metavar="FILE.csv",
                    help="output file (default: RUN_ID.csv in the current directory)",
                ),
            ],
            documentation="Export the requests of a run as a trace, with their scheduled starts and token counts.",
            examples=("sizewise runs trace last -o trace.csv",),
        ),
        Command(
            "import",
            _import_run,
            [click.Argument(["bundle"], type=PATH, metavar="FILE.zip", help="exported zip file or run directory")],
            documentation="Import an exported run or a run directory.",
            examples=("sizewise runs import run.zip",),
        ),
        Command(
            "delete",
            _delete_runs,
            [
                click.Argument(
                    ["runs"],
                    nargs=-1,
                    metavar="[RUN]...",
                    shell_complete=complete_runs,
                    help="run ID or its prefix, or 'last'",
                ),
                CommandOption(
                    ["--purge"],
                    is_flag=True,
                    help="permanently delete runs that have been in the trash for more than 30 days",
                ),
            ],
            documentation="Move runs to the trash.",
            examples=("sizewise runs delete 20261128-1",),
        ),
        Command(
            "restore",
            _restore_run,
            [click.Argument(["run"], help="run ID or its prefix")],
            documentation="Restore a deleted run (see `runs list --deleted`).",
            examples=("sizewise runs restore 20261128-1",),
        ),
        Command(
            "stop",
            _stop_run,
            [run_argument()],
            documentation="Stop an active run after its in-flight requests; a second call cancels them.",
            examples=("sizewise runs stop last",),
        ),
        Command(
            "rate",
            _change_rate,
            [run_argument(), click.Argument(["rate"], help="new rate, like 300/s")],
            documentation="Change the rate of an active run's current open-loop stage until the stage ends.",
            examples=("sizewise runs rate last 300/s",),
        ),
        Command(
            "extend",
            _extend_stage,
            [run_argument(), click.Argument(["duration"], help="time to add, like 30s")],
            documentation="Extend an active run's current stage, if it has a constant rate or concurrency.",
            examples=("sizewise runs extend last 30s",),
        ),
        Command(
            "promote",
            _promote_run,
            [run_argument("a run that passed: run directory, run ID or its prefix, or 'last'")],
            documentation="Set a run as the baseline of its profile, for `run --baseline promoted`.",
            examples=("sizewise runs promote last",),
        ),
    ],
    documentation=__doc__,
)
