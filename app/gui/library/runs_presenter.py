"""Presenter of the stored runs: lists and changes runs as `sizewise runs` does.

Changes are executed one after another in the background, so that an undo is never executed before
the change that it reverts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack

from app.gui.background import LatestRunner, submit
from app.gui.formatting import format_quantity
from app.gui.library.run_listing import ListedRuns, build_listing
from app.gui.navigation import Notice, build_error_notice
from app.records.metrics import display_unit, metric_label
from app.records.result import Result
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.run_history import RunHistory
from app.reporting.run_rows import DeletedRow, RunRow, list_deleted_rows, list_runs
from app.storage.baselines import list_promoted_directories
from reports.formatting import format_metric_label
from reports.sections.figure import FigureAxis, FigureLine, LineFigure

Task = tuple[Callable[[], object], Callable[[object], object], Callable[[Exception], object]]


class TaskQueue(QObject):
    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._pending_tasks: deque[Task] = deque()
        self.is_busy = False

    def add(
        self,
        function: Callable[[], object],
        on_done: Callable[[object], object],
        on_error: Callable[[Exception], object],
    ) -> None:
        self._pending_tasks.append((function, on_done, on_error))
        if not self.is_busy:
            self._start_next()

    def _start_next(self) -> None:
        if not self._pending_tasks:
            return
        function, on_done, on_error = self._pending_tasks.popleft()
        self.is_busy = True

        def handle_result(result: object) -> None:
            self.is_busy = False
            on_done(result)
            self._start_next()

        def handle_error(error: Exception) -> None:
            self.is_busy = False
            on_error(error)
            self._start_next()

        submit(self, function, handle_result, handle_error)


class RunPreview(msgspec.Struct, frozen=True):
    """Preview of a stored run. `figure` is its latency by load or, for a run with a single load, the main
    numbers of comparable runs; `None` if nothing was measured that can be drawn."""

    directory: str
    sentence: str
    objectives: tuple[str, ...]
    figure: LineFigure | None = None


def read_preview(row: RunRow, history: RunHistory | None) -> RunPreview:
    """Read the preview of a run from its stored result. This function can be called from any thread.
    Raises UsageError if the result cannot be read."""
    from app.reporting.load import build_objective_rows
    from app.reporting.verdict import build_verdict
    from app.storage.run_directory import StoredRun

    result = StoredRun(Path(row.directory)).complete_result
    objectives = tuple(
        f"{objective.outcome}  {objective.label}: {format_quantity(objective.observed)}"
        for objective in build_objective_rows(result)
    )
    figure = build_load_preview(result) or build_history_preview(row, history)
    return RunPreview(row.directory, build_verdict(result).sentence, objectives, figure)


def build_load_preview(result: Result) -> LineFigure | None:
    """Return the latency of a run by its rates or numbers of clients; `None` with fewer than two
    loads."""
    from app.reporting.load import build_curve_labels

    labels = build_curve_labels(result)
    stages = [
        stage
        for stage in result.stages
        if STAGE_KINDS[stage.kind].is_measured and not stage.is_pooled and stage.variant is None
    ]
    by_clients = any(stage.concurrency for stage in stages)
    points = sorted(
        (float(load), estimate.value)
        for stage in stages
        if (load := stage.concurrency if by_clients else stage.scheduled_per_s) is not None
        if (estimate := stage.metrics.get(labels.metric, {}).get(labels.percentile)) is not None
        if estimate.value is not None
    )
    if len({load for load, _ in points}) < 2:
        return None
    name = format_metric_label(labels.metric, labels.percentile)
    x_label, x_unit = ("Clients", "") if by_clients else ("Rate", f"{_LOAD_UNITS[labels.counts]}/s")
    return LineFigure(
        title=f"{name} by load",
        x=FigureAxis(x_label, x_unit),
        y=FigureAxis(name, "ms"),
        lines=(FigureLine("values", name, tuple(load for load, _ in points), tuple(value for _, value in points)),),
        limit=None if labels.limit is None else labels.limit.value,
        limit_label="SLO",
    )


def build_history_preview(row: RunRow, history: RunHistory | None) -> LineFigure | None:
    """Return the main numbers of a run and of the comparable runs before it; `None` without such
    runs."""
    if row.number is None or history is None or len(history.values) < 2:
        return None
    name = metric_label(row.number.metric, row.number.aggregate)
    unit = display_unit(row.number.unit)
    run_numbers = tuple(map(float, range(1, len(history.values) + 1)))
    return LineFigure(
        title=f"{name} by run",
        x=FigureAxis("Run (oldest first)"),
        y=FigureAxis(name, unit),
        lines=(FigureLine("values", name, run_numbers, history.values),),
    )


_LOAD_UNITS = {"requests": "req", "sessions": "sessions"}
_LISTING_TIMEOUT_S = 0.5
"""Time limit of one listing, in seconds. Runs that are not read within the limit are read by the
following listings."""


class RunsPresenter(QObject):
    """Presenter that lists and changes stored runs in the background.

    `listed` is emitted repeatedly until every run has been read. The second value of `notified` is
    true if the change can be undone.
    """

    listed = Signal(object)
    trash_listed = Signal(object)
    """Signal that is emitted with the deleted runs in the trash, as a tuple of `DeletedRow`."""
    notified = Signal(object, bool)
    changed = Signal()
    """Signal that is emitted when runs were added, deleted or labeled in this window."""
    imported = Signal(object)
    """Signal that is emitted with the directory of a run that has been imported."""
    previewed = Signal(object)
    """Signal that is emitted with the `RunPreview` of the selected run, or with `None` if it cannot be
    read."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.undo_stack = QUndoStack(self)
        self._tasks = TaskQueue(self)
        self._latest_listing: LatestRunner[ListedRuns] = LatestRunner(self, self._on_listed, self._notify_error)
        self._latest_preview: LatestRunner[RunPreview] = LatestRunner(
            self, self.previewed.emit, lambda _: self.previewed.emit(None)
        )
        self._latest_trash: LatestRunner[tuple[DeletedRow, ...]] = LatestRunner(
            self, self.trash_listed.emit, self._notify_error
        )

    @property
    def is_busy(self) -> bool:
        readers = self._latest_listing, self._latest_trash, self._latest_preview
        return any(reader.is_busy for reader in readers) or self._tasks.is_busy

    def refresh(self) -> None:
        self._latest_listing.request(
            lambda: build_listing(list_runs(time_limit_s=_LISTING_TIMEOUT_S), list_promoted_directories())
        )

    def preview(self, row: RunRow, history: RunHistory | None) -> None:
        """Read the preview of a run. While the user moves through the list, only the latest run is
        read."""
        self._latest_preview.request(lambda: read_preview(row, history))

    def cancel_preview(self) -> None:
        self._latest_preview.cancel()

    def refresh_trash(self) -> None:
        self._latest_trash.request(list_deleted_rows)

    def delete(self, directories: Sequence[Path]) -> None:
        names = [directory.name for directory in directories]
        text = f"{names[0]} was deleted." if len(names) == 1 else f"{len(names)} runs were deleted."
        notice = Notice("news", text, None, "Deleted runs stay in the trash for 30 days.")
        self._push_change("Delete runs", lambda: _delete_runs(directories), lambda: _restore_runs(names), notice)

    def restore(self, names: Sequence[str]) -> None:
        notice = Notice("news", f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} restored.")
        self._execute(lambda: _restore_runs(names), lambda _: self._emit_notice(notice))

    def set_title(self, directory: Path, title: str, previous_title: str) -> None:
        """Set the title of a run. Undo restores `previous_title`, the title before the change."""
        if title != previous_title:
            do_and_undo = (lambda: _set_title(directory, title)), (lambda: _set_title(directory, previous_title))
            self._push_change("Rename run", *do_and_undo, None)

    def add_tags(self, directory: Path, tags: Sequence[str]) -> None:
        if tags:
            self._push_change(
                "Add tags", lambda: _add_tags(directory, tags), lambda: _remove_tags(directory, tags), None
            )

    def remove_tags(self, directory: Path, tags: Sequence[str]) -> None:
        if tags:
            do_and_undo = (lambda: _remove_tags(directory, tags)), (lambda: _add_tags(directory, tags))
            self._push_change("Remove tags", *do_and_undo, None)

    def add_note(self, directory: Path, text: str) -> None:
        notice = Notice("news", "The note was added.")
        self._execute(lambda: _add_note(directory, text), lambda _: self._emit_notice(notice))

    def promote(self, directory: Path) -> None:
        self._execute(lambda: _promote_run(directory), lambda message: self._emit_notice(Notice("news", str(message))))

    def export(self, directory: Path, path: Path) -> None:
        self._execute(
            lambda: _export_run(directory, path), lambda message: self._emit_notice(Notice("news", str(message)))
        )

    def import_path(self, path: Path) -> None:
        self._execute(lambda: _import_run(path), self._on_imported)

    def _push_change(
        self, text: str, do: Callable[[], object], undo: Callable[[], object], notice: Notice | None
    ) -> None:
        self.undo_stack.push(_Change(text, self, (do, undo), notice))

    def run_change(self, change: _Change, function: Callable[[], object], notice: Notice | None) -> None:
        """Call `function` in the background to execute or revert an undoable change. `notice` is
        shown on success."""

        def handle_error(error: Exception) -> None:
            change.setObsolete(True)
            self._on_change_error(error)

        self._tasks.add(function, lambda _: self._on_changed(notice, can_undo=notice is not None), handle_error)

    def _execute(self, function: Callable[[], object], on_done: Callable[[object], object]) -> None:
        def handle_result(result: object) -> None:
            on_done(result)
            self._on_changed(None)

        self._tasks.add(function, handle_result, self._on_change_error)

    def _on_imported(self, result: object) -> None:
        assert isinstance(result, tuple)
        directory, is_new = result
        text = "{name} was imported." if is_new else "{name} is already in the Library."
        self._emit_notice(Notice("news", text.format(name=directory.name)))
        self.imported.emit(directory)

    def _on_changed(self, notice: Notice | None, *, can_undo: bool = False) -> None:
        if notice is not None:
            self._emit_notice(notice, can_undo=can_undo)
        self.changed.emit()
        self.refresh()
        self.refresh_trash()

    def _emit_notice(self, notice: Notice, *, can_undo: bool = False) -> None:
        self.notified.emit(notice, can_undo)

    def _notify_error(self, error: Exception) -> None:
        self.notified.emit(build_error_notice(error), False)

    def _on_change_error(self, error: Exception) -> None:
        """Report an error and refresh the list, because part of the change may have been
        applied."""
        self._notify_error(error)
        self.refresh()

    def _on_listed(self, listed_runs: ListedRuns) -> None:
        self.listed.emit(listed_runs)
        if listed_runs.unread_count:
            self.refresh()


class _Change(QUndoCommand):
    def __init__(
        self,
        text: str,
        presenter: RunsPresenter,
        do_and_undo: tuple[Callable[[], object], Callable[[], object]],
        notice: Notice | None,
    ) -> None:
        super().__init__(text)
        self._presenter, self._notice = presenter, notice
        self._do, self._undo = do_and_undo

    def redo(self) -> None:
        if not self.isObsolete():
            self._presenter.run_change(self, self._do, self._notice)

    def undo(self) -> None:
        if not self.isObsolete():
            self._presenter.run_change(self, self._undo, None)


def _delete_runs(directories: Iterable[Path]) -> None:
    from app.storage.run_directory import StoredRun
    from app.storage.trash import delete_runs

    delete_runs([StoredRun(directory) for directory in directories], datetime.now(UTC))


def _restore_runs(names: Iterable[str]) -> None:
    from app.storage.trash import restore_run

    for name in names:
        restore_run(name)


def _set_title(directory: Path, title: str) -> None:
    from app.storage.labels import set_title

    set_title(directory, title)


def _add_tags(directory: Path, tags: Iterable[str]) -> None:
    from app.storage.labels import add_tags

    add_tags(directory, tags)


def _remove_tags(directory: Path, tags: Iterable[str]) -> None:
    from app.storage.labels import remove_tags

    remove_tags(directory, tags)


def _add_note(directory: Path, text: str) -> None:
    from app.wiring.stored_runs import add_run_note

    add_run_note(directory, text, datetime.now(UTC))


def _promote_run(directory: Path) -> str:
    from app.storage.run_directory import StoredRun
    from app.wiring.sharing_runs import set_baseline

    result = set_baseline(StoredRun(directory))
    return f"{result.run_id} is now the baseline of {result.name}."


def _export_run(directory: Path, path: Path) -> str:
    from app.storage.run_directory import StoredRun
    from app.wiring.sharing_runs import share_run

    bundle = share_run(StoredRun(directory), path)
    return f"{bundle.run_id} was exported to {path}."


def _import_run(path: Path) -> tuple[Path, bool]:
    from app.wiring.sharing_runs import import_shared_run

    return import_shared_run(path)
