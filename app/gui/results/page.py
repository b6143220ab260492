"""Results page: a stored run with its verdict, its metrics over time, and all of its requests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent, QUndoCommand, QUndoStack
from PySide6.QtWidgets import QLineEdit, QWidget

from app.gui.background import submit
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Navigation, PageKey, build_error_notice
from app.gui.page import Page
from app.gui.results.exporting import report_command
from app.gui.results.presenter import ResultsPresenter
from app.gui.results.recent_runs import RecentRuns
from app.gui.theme import GAP, ThemeController
from app.gui.widgets import label, scroll_area, stacked_widget, vbox

if TYPE_CHECKING:
    from app.gui.results.content import Content
    from app.gui.results.state import DisplayedRun
    from app.records.bundle import Labels


T = TypeVar("T")


class ResultsPage(Page):
    key: PageKey = "results"

    def __init__(self, navigation: Navigation, theme_controller: ThemeController) -> None:
        super().__init__(navigation, theme_controller)
        self.presenter = ResultsPresenter(self)
        self._undo_stack = QUndoStack(self)
        self._content: Content | None = None
        self._path: Path | None = None
        self._failed_path: Path | None = None
        self._pending_time_s: float | None = None
        self.strip = MessageStrip()
        self.recent_runs = RecentRuns(theme_controller)
        self.loading = label("", "heading", wrap=True)
        self.loading.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._scroll_area = scroll_area()
        self._scroll_area.setAccessibleName("Run")
        self._run_view = QWidget()
        self._run_layout = vbox((self._scroll_area, 1), within=self._run_view, spacing=GAP)
        self._stack = stacked_widget(self.recent_runs, self.loading, self._run_view)
        vbox(self.strip, (self._stack, 1), within=self)
        self._connect()

    def enter(self) -> None:
        if self._path is None:
            self.recent_runs.refresh()
        elif self._content is not None and self.presenter.displayed_run is not None:
            self._read_labels(self.presenter.displayed_run)
            self._emit_validity(self.presenter.displayed_run)
        self._focus_first()

    def _focus_first(self) -> None:
        """Focus the displayed run, so that keys scroll the page. If no run is open, focus the
        button that opens the Library."""
        is_list_visible = self._stack.currentWidget() is self.recent_runs
        (self.recent_runs.library_button if is_list_visible else self._scroll_area).setFocus(
            Qt.FocusReason.OtherFocusReason
        )

    def leave(self) -> None:
        if self._content is not None:
            self._content.leave()

    def open_run(self, path: Path) -> None:
        """Open a run. The results of an interrupted run are recovered from the stored data."""
        self._pending_time_s = None
        self.presenter.open_run(path)

    def show_time(self, time_s: float) -> None:
        """Show a time, in seconds from the start of the run. If the run is still being opened, the
        time is shown afterwards."""
        self._pending_time_s = time_s
        if self.presenter.displayed_run is not None and self._content is not None:
            self._content.show_time(time_s)
            self._pending_time_s = None

    def command_line(self) -> str | None:
        displayed_run = self.presenter.displayed_run
        if displayed_run is None:
            return None
        drawer = None if self._content is None or not self._content.drawer.isVisible() else self._content.drawer
        export_options, output_path = (None, None) if drawer is None else (drawer.options(), drawer.custom_path())
        return report_command(
            displayed_run.directory,
            displayed_run.request,
            displayed_run.opened_run.recovery is not None,
            export_options,
            output_path,
        )

    def run_directories(self) -> tuple[Path, ...]:
        """Return the directory of the displayed run for a comparison. The result is empty if no run
        is displayed, or if the run was interrupted and has no result to compare."""
        displayed_run = self.presenter.displayed_run
        return (
            () if displayed_run is None or displayed_run.opened_run.recovery is not None else (displayed_run.directory,)
        )

    def export(self) -> bool:
        displayed_run = self.presenter.displayed_run
        if displayed_run is None or self._content is None:
            return False
        self._content.drawer.open_drawer(displayed_run)
        self._scroll_area.ensureWidgetVisible(self._content.drawer)
        return True

    def undo_stack(self) -> QUndoStack | None:
        return self._undo_stack

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self._content is not None:
            self._content.load_curves.fit_page(self.height())

    def filter_field(self) -> QLineEdit | None:
        if self._content is None or self.presenter.displayed_run is None:
            return None
        return self._content.filter_field()

    def start(self) -> bool:
        """Open the profile of the displayed run on the Run page, so that the user can run the
        profile again (F5). Return False if there is no run or no profile."""
        if self.presenter.displayed_run is None or not self.presenter.displayed_run.opened_run.spec_text:
            return False
        self.navigation.open_profile_requested.emit(self.presenter.displayed_run.directory / "spec.yaml")
        return True

    def content(self) -> Content:
        """Return the content widget, created on first use because its charts and tables import many
        modules."""
        if self._content is None:
            from app.gui.results.content import Content

            content = self._content = Content(self.theme_controller)
            self._scroll_area.setWidget(content)
            self._run_layout.insertWidget(0, content.header)
            content.load_curves.fit_page(self.height())
            header, slo_editor, time_axis = content.header, content.overview.slo_editor, content.overview.time_axis
            header.export_requested.connect(self.export)
            header.compare_requested.connect(self._compare)
            header.plan_requested.connect(self._plan)
            header.repeat_requested.connect(self._repeat)
            header.title_edited.connect(self._change_title)
            header.tags_edited.connect(self._change_tags)
            header.note_entered.connect(self._add_note)
            slo_editor.edited.connect(self.presenter.request_slo)
            time_axis.window_selected.connect(self._select_window)
            time_axis.window_cleared.connect(self._clear_window)
            content.verdict_card.reset_requested.connect(self.presenter.reset)
            content.profile_tab.repeat_requested.connect(self._repeat)
            content.plan_tab.plan_requested.connect(self._open_plan)
            content.shape_plan_tab.plan_requested.connect(self._open_shape_plan)
            content.plan_tab.serving_requested.connect(self._serve_model)
            content.plan_tab.shape_requested.connect(self._plan_from_shape)
            content.drawer.failed.connect(self._show_error)
            content.scroll_requested.connect(self._scroll_to)
        return self._content

    def _connect(self) -> None:
        presenter = self.presenter
        presenter.opening.connect(self._on_opening)
        presenter.opened.connect(self._on_opened)
        presenter.reevaluated.connect(self._on_reevaluated)
        presenter.failed.connect(self._on_failed)
        presenter.rejected.connect(self._on_rejected)
        self.strip.action_triggered.connect(self._try_again)
        self.recent_runs.run_selected.connect(self.open_run)
        self.recent_runs.comparison_requested.connect(self.navigation.comparison_requested)
        self.recent_runs.library_requested.connect(self._go_to_library)
        self.recent_runs.home_requested.connect(self._go_to_home)
        self.navigation.library_changed.connect(self._on_library_changed)

    def _on_opening(self, path: Path) -> None:
        self._path = path
        self.strip.hide()
        self._undo_stack.clear()
        self.loading.setText(f"Loading {path.name}…")
        self._stack.setCurrentWidget(self.loading)

    def _on_opened(self, displayed_run: DisplayedRun) -> None:
        content = self.content()
        content.show_run(displayed_run)
        self._stack.setCurrentWidget(self._run_view)
        self._scroll_area.verticalScrollBar().setValue(0)
        if self.isVisible():
            self._focus_first()
        self.setAccessibleDescription(
            f"{displayed_run.own_report.header.title}: {displayed_run.own_report.verdict.outcome}"
        )
        self._emit_validity(displayed_run)
        if self._pending_time_s is not None:
            self.show_time(self._pending_time_s)

    def _on_reevaluated(self, displayed_run: DisplayedRun) -> None:
        self.strip.hide()
        self.content().show_evaluation(displayed_run)
        self._emit_validity(displayed_run)

    def _emit_validity(self, displayed_run: DisplayedRun) -> None:
        verdict = displayed_run.result.verdict
        self.navigation.validity_changed.emit(verdict.status, "\n".join(verdict.reasons), "results")

    def _on_failed(self, path: Path, error: Exception) -> None:
        """Report that the run cannot be opened, and offer to try again, since the run may be in
        progress or not completely copied."""
        self._path, self._failed_path = None, path
        self._stack.setCurrentWidget(self.recent_runs)
        self.recent_runs.refresh()
        self.strip.show_notice(build_error_notice(error), "Try again")

    def _try_again(self) -> None:
        if self._failed_path is not None:
            self.open_run(self._failed_path)

    def _on_rejected(self, error: Exception) -> None:
        """Report why the re-evaluation was rejected, and show the run unchanged."""
        self._show_error(error)
        if self.presenter.displayed_run is not None:
            self.content().show_evaluation(self.presenter.displayed_run)

    def _show_error(self, error: Exception) -> None:
        self.strip.show_notice(build_error_notice(error))

    def _select_window(self, from_s: float, to_s: float) -> None:
        self.presenter.request_window((from_s, to_s))

    def _clear_window(self) -> None:
        self.presenter.request_window(None)

    def _compare(self) -> None:
        self.navigation.comparison_requested.emit(self.run_directories())

    def _plan(self) -> None:
        """Plan from the displayed run or, if no plan can be based on it, show which plans are
        possible instead."""
        if self._content is None or not self._content.show_ways_to_plan():
            self._open_plan()

    def _open_plan(self) -> None:
        self.navigation.plan_requested.emit(self.run_directories())

    def _open_shape_plan(self) -> None:
        """Open the plan of the larger model, which was not measured, on the Plan page."""
        from app.wiring.language_model_plans import build_known_shape_request

        displayed_run = self.presenter.displayed_run
        shape_plan = None if displayed_run is None else displayed_run.opened_run.result.shape_plan
        if shape_plan is not None:
            self._submit(lambda: build_known_shape_request(shape_plan), self.navigation.plan_inputs_requested.emit)

    def _plan_from_shape(self) -> None:
        from app.wiring.language_model_plans import build_shape_request

        if self.presenter.displayed_run is not None:
            result = self.presenter.displayed_run.opened_run.result
            self._submit(lambda: build_shape_request(result), self.navigation.plan_inputs_requested.emit)

    def _serve_model(self) -> None:
        """Open a profile on the Run page that serves the measured model."""
        from app.wiring.language_model_plans import write_serving_profile

        if self.presenter.displayed_run is not None:
            result = self.presenter.displayed_run.opened_run.result
            self._submit(lambda: write_serving_profile(result), self.navigation.open_profile_requested.emit)

    def _submit(self, work: Callable[[], T], on_done: Callable[[T], None]) -> None:
        submit(self, work, on_done, self._show_error)

    def _repeat(self) -> None:
        if self.presenter.displayed_run is not None:
            self.navigation.repeat_profile_requested.emit(self.presenter.displayed_run.directory / "spec.yaml")

    def _change_title(self, title: str) -> None:
        from app.gui.results.label_edits import change_title

        displayed_run = self.presenter.displayed_run
        if displayed_run is not None:
            self._push_command(lambda: change_title(displayed_run.directory, title, self._on_labeled))

    def _change_tags(self, text: str) -> None:
        from app.gui.results.label_edits import change_tags

        displayed_run = self.presenter.displayed_run
        if displayed_run is not None:
            tags = frozenset(text.replace(",", " ").split())
            self._push_command(lambda: change_tags(displayed_run.directory, tags, self._on_labeled))

    def _add_note(self, text: str) -> None:
        from app.gui.results.label_edits import add_note_command

        displayed_run = self.presenter.displayed_run
        if displayed_run is not None:
            self._push_command(lambda: add_note_command(displayed_run.directory, text, self._on_labeled))

    def _push_command(self, create_command: Callable[[], QUndoCommand | None]) -> None:
        from app.errors import UsageError

        try:
            command = create_command()
        except UsageError as error:
            self._show_error(error)
            if self.presenter.displayed_run is not None:
                self.content().header.show_labels(self.presenter.displayed_run.labels)
            return
        if command is not None:
            self._undo_stack.push(command)

    def _read_labels(self, displayed_run: DisplayedRun) -> None:
        """Read the labels from disk again, because another process may have changed them."""
        from app.errors import UsageError
        from app.storage.labels import read_labels

        with suppress(UsageError):  # a corrupted file has already been reported when the run was opened
            labels = read_labels(displayed_run.directory)
            if labels != displayed_run.labels:
                self._show_labels(labels)

    def _show_labels(self, labels: Labels) -> None:
        self.presenter.set_labels(labels)
        if self.presenter.displayed_run is not None:
            self.content().show_labels(self.presenter.displayed_run)

    def _on_labeled(self, directory: Path, labels: Labels) -> None:
        displayed_run = self.presenter.displayed_run
        if displayed_run is not None and displayed_run.directory == directory:
            self._show_labels(labels)
        self.navigation.library_changed.emit()

    def _on_library_changed(self) -> None:
        if self._path is None:
            self.recent_runs.refresh()

    def _go_to_library(self) -> None:
        self.navigation.page_requested.emit("library")

    def _go_to_home(self) -> None:
        self.navigation.page_requested.emit("home")

    def _scroll_to(self, widget: QWidget) -> None:
        self._scroll_area.ensureWidgetVisible(widget)
