"""Live page: a run while it is in progress."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut

from app.gui.background import submit
from app.gui.live.idle import IdleView, LastRuns, find_last_runs
from app.gui.live.state import LiveState
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Navigation, Notice, PageKey
from app.gui.page import Page
from app.gui.theme import ThemeController
from app.gui.widgets import stacked_widget, vbox

if TYPE_CHECKING:
    from app.gui.live.body import LiveBody
    from app.gui.live.presenter import Part
    from app.gui.live.run import LiveRun, RunNotice


class LivePage(Page):
    """Page of the current run. The chart libraries are imported only when the first run is
    shown."""

    key: PageKey = "live"
    state_changed = Signal(object)
    """Signal that is emitted with the `LiveState` of the run when the run starts, changes or
    ends."""

    def __init__(self, navigation: Navigation, theme_controller: ThemeController) -> None:
        super().__init__(navigation, theme_controller)
        self.state = LiveState()
        self.strip, self.stop_strip = MessageStrip(), MessageStrip()
        self.idle = IdleView()
        self._body: LiveBody | None = None
        self._run: LiveRun | None = None
        self._stack = stacked_widget(self.idle)
        vbox(self.strip, self.stop_strip, (self._stack, 1), within=self)
        self.strip.action_triggered.connect(self._open_results)
        self.stop_strip.action_triggered.connect(self.stop_now)
        self.idle.set_up_requested.connect(self._set_up)
        self.idle.results_requested.connect(navigation.open_run_requested)
        escape_shortcut = QShortcut(QKeySequence(Qt.Key.Key_Escape), self)
        escape_shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        escape_shortcut.activated.connect(self.stop)

    def enter(self) -> None:
        if self._body is None:
            submit(self, find_last_runs, self._show_last_runs, self.navigation.notify_error)
            self.idle.set_up_button.setFocus(Qt.FocusReason.OtherFocusReason)
        else:
            self._body.ribbon.setFocus(Qt.FocusReason.OtherFocusReason)
            self._emit_validity()

    def _show_last_runs(self, runs: LastRuns) -> None:
        """Attach to the run in progress, if any. Otherwise offer the newest run."""
        if self._body is not None or not self.isVisible():
            return
        if runs.running_directory is not None:
            self.navigation.watch_run_requested.emit(runs.running_directory)
        else:
            self.idle.show_runs(runs)

    def _emit_validity(self) -> None:
        if self.state.validity is not None:
            self.navigation.validity_changed.emit(self.state.validity, "\n".join(self.state.reasons), "live")

    def command_line(self) -> str | None:
        directory = self.state.directory
        if directory is None:
            return None
        from app.storage.run_directory import format_run_name

        return f"sizewise runs attach {shlex.quote(format_run_name(directory))}"

    def run_directories(self) -> tuple[Path, ...]:
        return () if self.state.directory is None else (self.state.directory,)

    @property
    def is_running(self) -> bool:
        return self._run is not None and self._run.is_running

    @property
    def body(self) -> LiveBody | None:
        """Content of the page, or None until the first run is shown."""
        return self._body

    def watch(self, directory: Path) -> None:
        """Watch a run that was not started by this window, whether the run is in progress or has
        ended."""
        self.run.engine.watch(directory)

    def stop(self) -> None:
        """Stop the run. The first call only shows a notice that asks for confirmation; the second
        call stops the run."""
        if not self.is_running:
            return
        if not self.stop_strip.isHidden():
            self.stop_now()
            return
        if self.state.is_local:
            message = "Stop this run?"
            reason = "The running measurement ends now. The results so far are stored."
            action_text = "S&top run"
        elif self.state.status == "stopping":
            message = "Stop now and cancel in-flight requests?"
            reason = "The run is stopping and waits for responses to in-flight requests."
            action_text = "S&top now"
        else:
            message = "Stop this run?"
            reason = "In-flight requests finish. The results so far are stored."
            action_text = "S&top run"
        self.stop_strip.show_notice(Notice("warning", message, reason, "Press Esc again to stop."), action_text)

    def stop_now(self) -> None:
        """Stop the run without confirmation."""
        self.stop_strip.hide()
        if self._run is not None:
            self._run.stop()

    @property
    def run(self) -> LiveRun:
        """Run that the page watches, created on first use."""
        if self._run is None:
            from app.gui.live.run import LiveRun

            run = self._run = LiveRun(self)
            run.began.connect(self._on_began)
            run.parts_changed.connect(self._mark_changed)
            run.state_changed.connect(self._show_state)
            run.notice_emitted.connect(self._show_notice)
            run.notice_cleared.connect(self.strip.hide)
            run.ended.connect(self._on_ended)
        return self._run

    def _on_began(self) -> None:
        assert self._run is not None, "a run must have been created"
        if self._body is None:
            from app.gui.live.body import LiveBody

            self._body = LiveBody(self.theme_controller)
            self._body.header.stop_requested.connect(self.stop)
            self._body.controls.note_entered.connect(self._run.add_note)
            self._body.controls.rate_change_requested.connect(self._run.change_rate)
            self._body.controls.extension_requested.connect(self._run.extend)
            self._stack.addWidget(self._body)
        self.strip.hide()
        self.stop_strip.hide()
        self._stack.setCurrentWidget(self._body)
        self._body.begin(self._run.presenter)

    def _mark_changed(self, parts: frozenset[Part]) -> None:
        if self._body is not None:
            self._body.mark_changed(parts)

    def _show_state(self, state: LiveState) -> None:
        self.state = state
        if not state.is_running:
            self.stop_strip.hide()
        if self._body is not None:
            self._body.show_state(state)
        if self.isVisible():  # a hidden page must not replace the validity that the visible page reports
            self._emit_validity()
        self.state_changed.emit(state)

    def _show_notice(self, run_notice: RunNotice) -> None:
        action_text = None
        if run_notice.has_results:
            action_text = "Show resu&lts so far" if self.state.status == "lost" else "&Show results"
        self.strip.show_notice(run_notice.notice, action_text)

    def _on_ended(self, directory: Path, is_started_here: bool) -> None:
        from app.storage.run_directory import RESULT

        self.navigation.library_changed.emit()
        if is_started_here and (directory / RESULT).exists():
            self.navigation.open_run_requested.emit(directory)

    def _open_results(self) -> None:
        if self.state.directory is not None:
            self.navigation.open_run_requested.emit(self.state.directory)

    def _set_up(self) -> None:
        self.navigation.page_requested.emit("run")
