"""List, show, label, share, delete and restore stored runs, and control an active run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli import run
from app.errors import ExitCode, StorageError, UsageError

if TYPE_CHECKING:
    from app.analysis.comparisons.series import MetricHistory
    from app.cli.tables import Cell, Subcommands
    from app.records.control import ControlCommand
    from app.storage.run_directory import StoredRun


def _add_label_verbs(verbs: Subcommands) -> None:
    rename = verbs.add_parser("rename", help="set a run's title; trends and baselines still use its name")
    rename.add_argument("run", help="run directory, run ID or its prefix, or 'last'")
    rename.add_argument("title", help='new title; an empty one ("") removes it')
    rename.set_defaults(act=_rename)
    tag = verbs.add_parser("tag", help="add tags to a run, or remove them")
    tag.add_argument("run", help="run directory, run ID or its prefix, or 'last'")
    tag.add_argument("tags", nargs="+", metavar="TAG")
    tag.add_argument("--remove", action="store_true", help="remove these tags")
    tag.set_defaults(act=_tag)
    note = verbs.add_parser(
        "note", help="add a note to a run; a note to an active run also appears in its events and result"
    )
    note.add_argument("run", help="run directory, run ID or its prefix, or 'last'")
    note.add_argument("text")
    note.set_defaults(act=_note)


def _rename(arguments: argparse.Namespace) -> int:
    from app.storage.labels import set_title
    from app.storage.run_directory import find_run

    labels = set_title(find_run(arguments.run).directory, arguments.title)
    print(f"title: {labels.title or 'none'}")
    return 0


def _tag(arguments: argparse.Namespace) -> int:
    from app.cli.tables import format_cell
    from app.storage.labels import add_tags, remove_tags
    from app.storage.run_directory import find_run

    change = remove_tags if arguments.remove else add_tags
    labels = change(find_run(arguments.run).directory, arguments.tags)
    print(f"tags: {format_cell(', '.join(labels.tags) or 'none')}")
    return 0


def _note(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from app.storage.run_directory import find_run
    from app.wiring.stored_runs import add_run_note

    print(add_run_note(find_run(arguments.run).directory, arguments.text, datetime.now(UTC)))
    return 0


def _add_bundle_verbs(verbs: Subcommands) -> None:
    export = verbs.add_parser("export", help="export a finished run as a zip file with checksums")
    export.add_argument("run", help="run directory, run ID or its prefix, or 'last'")
    export.add_argument(
        "-o",
        dest="out",
        type=Path,
        metavar="FILE.zip",
        help="output file (default: RUN_ID.zip in the current directory)",
    )
    export.set_defaults(act=_export)
    taking = verbs.add_parser("import", help="import an exported run or a run directory")
    taking.add_argument("bundle", type=Path, metavar="FILE.zip", help="exported zip file or run directory")
    taking.set_defaults(act=_import)


def _export(arguments: argparse.Namespace) -> int:
    from app.storage.run_directory import find_run
    from app.wiring.sharing_runs import share_run

    run = find_run(arguments.run)
    path = arguments.out or Path(f"{run.complete_result.run_id}.zip")
    bundle = share_run(run, path)
    print(f"{path}: {bundle.run_id}, {len(bundle.files)} files, {path.stat().st_size / 2**20:,.1f} MiB")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from app.wiring.sharing_runs import import_shared_run

    directory, is_new = import_shared_run(arguments.bundle)
    print(directory if is_new else f"{directory} already has this run")
    return 0


def _add_trash_verbs(verbs: Subcommands) -> None:
    delete = verbs.add_parser("delete", help="move runs to the trash")
    delete.add_argument("runs", nargs="*", metavar="RUN", help="run ID or its prefix, or 'last'")
    delete.add_argument(
        "--purge", action="store_true", help="permanently delete runs that have been in the trash for more than 30 days"
    )
    delete.set_defaults(act=_delete)
    restore = verbs.add_parser("restore", help="restore a deleted run (see `runs list --deleted`)")
    restore.add_argument("run", help="run ID or its prefix")
    restore.set_defaults(act=_restore)


def _delete(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from app.storage.run_directory import find_run
    from app.storage.trash import delete_runs, purge

    if bool(arguments.runs) == arguments.purge:
        raise UsageError("no run to delete", hint="Name the runs, or use --purge alone to empty the trash of old runs.")
    now = datetime.now(UTC)
    if arguments.purge:
        purged = purge(now)
        print(
            "\n".join(f"{name} permanently deleted" for name in purged) or "no run in the trash is older than 30 days"
        )
        return 0
    runs = {run.directory.resolve(): run for run in map(find_run, arguments.runs)}
    delete_runs([*runs.values()], now)
    for directory in runs:
        print(f"{directory.name} moved to the trash; undo with `sizewise runs restore {directory.name}`")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from app.storage.trash import restore_run

    print(restore_run(arguments.run))
    return 0


_POLL_S = 0.1


def _add_attach_verb(verbs: Subcommands) -> None:
    attach = verbs.add_parser("attach", help="follow an active run and exit with its exit code; Ctrl-C detaches")
    attach.add_argument("run", help="run directory, run ID or its prefix, or 'last'")
    attach.set_defaults(act=_attach)


def _attach(arguments: argparse.Namespace) -> int:
    from app.storage.run_directory import find_run

    run = find_run(arguments.run)
    try:
        return _follow(run)
    except KeyboardInterrupt:
        print(
            f"detached; the run continues (follow it with `sizewise runs attach {run.directory.name}`)", file=sys.stderr
        )
        return ExitCode.INTERRUPTED


def _follow(run: StoredRun) -> int:
    """Show the events of a run until it ends, and return its exit code. Raises StorageError if its
    process ended without a result."""
    import threading

    from app.cli.progress import open_progress
    from app.cli.tables import format_cell
    from app.storage.following import RunFollower

    follower, pause, is_written = RunFollower(run.directory), threading.Event(), True
    with open_progress() as progress:
        while (finished := follower.finished) is None:
            event = follower.read_next()
            if event is not None:
                progress.show(event)
            elif not is_written:
                hint = "Read the results so far with `sizewise.open_run` in Python."
                raise StorageError(f"the process of {run.directory} ended without a result", hint=hint)
            else:  # read once more after the process has ended, since it may just have written events
                is_written = follower.is_active()
                pause.wait(_POLL_S if is_written else 0)
    print(f"{run.directory.name}: {finished.status}", file=sys.stderr)
    for cause in finished.causes:
        print(f"exit {finished.exit_code}: {format_cell(cause)}", file=sys.stderr)
    return finished.exit_code


_MAX_NOTE_CHARACTERS = 60


def _add_listing_verbs(verbs: Subcommands) -> None:
    listing = verbs.add_parser("list", help="list the stored runs, oldest first")
    listing.add_argument("--tag", dest="tags", action="append", default=[], metavar="TAG",
                         help="only runs with this tag; repeatable, all must match")  # fmt: skip
    listing.add_argument("--validity", choices=["VALID", "WARN", "INVALID"], help="only runs with this validity")
    listing.add_argument("--find", dest="words", action="append", default=[], metavar="WORDS",
                         help="only runs with all of these words in ID, name, title, target, tags or "
                         "notes")  # fmt: skip
    listing.add_argument("--deleted", action="store_true", help="list the runs in the trash, in order of deletion")
    listing.set_defaults(act=_list)
    show = verbs.add_parser("show", help="show the summary of a run")
    show.add_argument("run", help="run directory, run ID or its prefix, or 'last'")
    show.set_defaults(act=_show)
    for verb in (listing, show):
        verb.add_argument("--json", action="store_true", help="print as JSON")


def _list(arguments: argparse.Namespace) -> int:
    rows = _rows(arguments)
    if arguments.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
    elif not rows:
        print(_empty_message(arguments))
    else:
        _print(rows, deleted=arguments.deleted)
    return 0


def _empty_message(arguments: argparse.Namespace) -> str:
    if arguments.deleted:
        return "the trash is empty"
    if arguments.words or arguments.validity:
        return "no matching runs"
    return "no run has this tag" if arguments.tags else "no runs yet; start with `sizewise quickstart`"


def _print(rows: list[dict[str, Any]], *, deleted: bool) -> None:
    """Print the table of runs, omitting columns that are empty for all runs."""
    from app.cli.colors import print_with_colors
    from app.cli.tables import format_table

    header = ["run", "outcome", "validity", "max rate", "exit"]
    cells: list[list[Cell]] = [
        [row["run_id"], row["outcome"], row["verdict"] or row["state"], row["max_rate_text"], row["exit_code"]]
        for row in rows
    ]
    labels = [(", ".join(row["tags"]), "; ".join(note["text"] for note in row["notes"])) for row in rows]
    columns = [
        ("title", [_shorten(row["title"] or "") for row in rows]),
        ("tags", [tags for tags, _ in labels]),
        ("notes", [_shorten(notes) for _, notes in labels]),
    ]
    if deleted:
        columns.append(("deleted", [row["deleted_at"] for row in rows]))
    for title, texts in columns:
        if any(texts):
            header.append(title)
            for line, text in zip(cells, texts, strict=True):
                line.append(text)
    print_with_colors(format_table(header, cells, status_columns=(1, 2)))


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_NOTE_CHARACTERS else f"{text[: _MAX_NOTE_CHARACTERS - 1]}…"


def _rows(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from msgspec import to_builtins

    from app.reporting.run_rows import filter_rows, list_deleted, list_runs

    filters = {"words": " ".join(arguments.words), "tags": arguments.tags, "validity": arguments.validity}
    if not arguments.deleted:
        return [to_builtins(row) for row in filter_rows(list_runs().rows, **filters)]
    return [
        to_builtins(deleted.run) | {"deleted_at": deleted.deleted_at.isoformat(timespec="seconds")}
        for deleted in list_deleted()
        if filter_rows([deleted.run], **filters)
    ]


def _show(arguments: argparse.Namespace) -> int:
    from app.cli.colors import print_with_colors
    from app.reporting.stored import build_stored_report
    from app.storage.run_directory import find_run
    from reports.text import render_text

    run = find_run(arguments.run)
    if arguments.json and run.result_text is not None:
        _ = run.complete_result  # raises an error if the run is damaged, so that no damaged result is printed
        print(run.result_text)
        return 0
    print_with_colors(render_text(build_stored_report(run), with_marks=True))
    return 0


def _add_trend_verb(verbs: Subcommands) -> None:
    trend = verbs.add_parser("trend", help="show the metrics of a profile's runs over time, and where they changed")
    trend.add_argument("name", nargs="?", help="name of the profile (default: profile of the last run)")
    trend.add_argument("--metric", help="only this metric, like latency_ms.p95")
    trend.add_argument("--json", action="store_true", help="print as JSON, with each run's value")
    trend.set_defaults(act=_trend)


def _trend(arguments: argparse.Namespace) -> int:
    from app.analysis.comparisons.series import MIN_VALUES
    from app.reporting.run_rows import build_trend, format_metric_name

    trend = build_trend(arguments.name)
    runs = trend.runs
    series = [history for history in trend.series if arguments.metric in (None, format_metric_name(history))]
    if not series:
        what, whose = arguments.metric or "metrics", arguments.name or "this profile"
        raise UsageError(f"the {len(runs)} runs of {whose} have no {what}")
    if arguments.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(series), indent=2).decode())
        return 0
    from app.cli.tables import format_cell, format_table

    excluded_text = (
        f"; {trend.excluded_count} excluded (INVALID, or another machine or workload)" if trend.excluded_count else ""
    )
    first, last = format_cell(runs[0].run_id), format_cell(runs[-1].run_id)  # imported runs are untrusted
    print(f"{format_cell(trend.name)}: {len(runs)} runs, {first} to {last}{excluded_text}")
    print(
        format_table(
            ("metric", "stage", "runs", "first", "last", "unit", "changed"), [_row(history) for history in series]
        )
    )
    if len(runs) < MIN_VALUES:
        print(f"Change detection needs at least {MIN_VALUES} runs.")
    return 0


def _row(series: MetricHistory) -> tuple[Cell, ...]:
    from app.reporting.run_rows import format_change, format_metric_name

    changed = "; ".join(format_change(series, index) for index in range(len(series.changes)))
    first, last = series.values[0], series.values[-1]
    return format_metric_name(series), series.stage, len(series.values), first, last, series.unit, changed or "no"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    for add in (
        _add_listing_verbs,
        _add_trend_verb,
        _add_attach_verb,
        run.add_resume_subcommand,
        _add_label_verbs,
        _add_bundle_verbs,
        _add_trash_verbs,
    ):
        add(verbs)
    stop = verbs.add_parser("stop", help="stop an active run after its in-flight requests; a second call cancels them")
    rate = verbs.add_parser("rate", help="change the rate of an active run's current open-loop stage until it ends")
    extend = verbs.add_parser(
        "extend", help="extend an active run's current stage, if it has a constant rate or concurrency"
    )
    for verb in (stop, rate, extend):
        verb.add_argument("run", help="run directory, run ID or its prefix, or 'last'")
        verb.set_defaults(act=_send_command)
    promote = verbs.add_parser(
        "promote", help="set a run as the baseline of its profile, for `run --baseline promoted`"
    )
    promote.add_argument("run", help="a run that passed: run directory, run ID or its prefix, or 'last'")
    promote.set_defaults(act=_promote)
    rate.add_argument("rate", help="new rate, like 300/s")
    extend.add_argument("by", metavar="DURATION", help="time to add, like 30s")


def execute(arguments: argparse.Namespace) -> int:
    code: int = arguments.act(arguments)
    return code


def _promote(arguments: argparse.Namespace) -> int:
    from app.cli.tables import format_cell
    from app.storage.baselines import promote
    from app.storage.run_directory import find_run

    result = promote(find_run(arguments.run))
    print(f"{format_cell(result.run_id)} is now the baseline of {result.name!r}")
    return 0


def _send_command(arguments: argparse.Namespace) -> int:
    from app.storage.control import send_command
    from app.storage.run_directory import find_run

    command = _command(arguments)
    print(send_command(find_run(arguments.run).directory, command))
    return 0


def _command(arguments: argparse.Namespace) -> ControlCommand:
    from app.records.control import StopRun

    if arguments.action == "stop":
        return StopRun()

    from app.profiles.problems import BadValueError

    try:
        return _extend_command(arguments.by) if arguments.action == "extend" else _rate_command(arguments.rate)
    except BadValueError as error:
        raise UsageError(str(error), hint=error.hint) from None


def _rate_command(rate: str) -> ControlCommand:
    from app.profiles.units import parse_rate_per_s
    from app.records.control import MAX_RATE_PER_S, SetRate

    rate_per_s = parse_rate_per_s(rate)
    if rate_per_s > MAX_RATE_PER_S:
        raise UsageError(f"{rate} is above the maximum of {MAX_RATE_PER_S:,.0f}/s")
    return SetRate(rate_per_s)


def _extend_command(by: str) -> ControlCommand:
    from app.profiles.units import parse_duration_s
    from app.records.control import MAX_EXTENSION_S, Extend

    by_s = parse_duration_s(by)
    if not 0 < by_s <= MAX_EXTENSION_S:
        raise UsageError(f"the extension must be greater than 0 s and at most 1 day (got {by})")
    return Extend(by_s)
