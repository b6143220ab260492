"""Routing between pages: a request from a page is passed to the page that handles the request, and
an action of a menu or shortcut is passed to the visible page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt
from PySide6.QtWidgets import QApplication, QWidget

from app.gui.library.remembered_files import remember_opened
from app.gui.window import Window

if TYPE_CHECKING:
    from app.wiring.planning import PlanRequest


class PageActions(QObject):
    """Actions of the menus and shortcuts that the current page handles, such as export, undo and
    filter."""

    def __init__(self, window: Window) -> None:
        super().__init__(window)
        self._window, self._pages, self._navigation = window, window.pages, window.navigation

    def export(self) -> None:
        if not self._pages.current.export():
            self._navigation.notify("news", "This page has no result to export yet.")

    def undo(self) -> None:
        stack = self._pages.current.undo_stack()
        if stack is not None:
            stack.undo()

    def redo(self) -> None:
        stack = self._pages.current.undo_stack()
        if stack is not None:
            stack.redo()

    def filter(self) -> None:
        field = self._pages.current.filter_field()
        if field is not None:
            field.setFocus(Qt.FocusReason.ShortcutFocusReason)
            field.selectAll()

    def compare(self) -> None:
        runs = self._pages.current.run_directories()
        if not runs:
            self._navigation.notify("news", "Select a run to compare first.")
            return
        self._navigation.comparison_requested.emit(runs)

    def show_settings(self) -> None:
        from app.gui.settings_dialog import SettingsDialog

        SettingsDialog(self._window, self._window.settings, self._window.theme_controller).show()

    def show_help(self) -> None:
        from app.gui.help import HelpDialog

        actions = self._window.menu_actions
        HelpDialog(self._window, actions.list_actions() if actions is not None else []).show()

    def show_about(self) -> None:
        from app.gui.help import show_about

        show_about(self._window)

    def report_problem(self) -> None:
        """Open the folder of the crash log, and say what a report of a problem should contain."""
        from app.gui.help import open_crash_log_folder

        self._window.show_notice(open_crash_log_folder())

    def focus_next_pane(self) -> None:
        """Move the focus from the navigation rail to the page, then to each open dock, and back to
        the rail."""
        window = self._window
        panes: list[QWidget] = [window.rail, self._pages.current, *window.list_visible_docks()]
        focus_widget = QApplication.focusWidget()
        focus_flags = [
            focus_widget is not None and (pane is focus_widget or pane.isAncestorOf(focus_widget)) for pane in panes
        ]
        target = panes[(focus_flags.index(True) + 1) % len(panes)] if True in focus_flags else panes[0]
        _focus_first(target)


def _focus_first(pane: QWidget) -> None:
    """Focus the first widget of the pane that accepts keyboard focus."""
    candidates = [pane, *pane.findChildren(QWidget)]
    focusable_widgets = (
        widget
        for widget in candidates
        if widget.isVisibleTo(pane) and widget.isEnabled() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus
    )
    widget = next(focusable_widgets, None)
    if widget is not None:
        widget.setFocus(Qt.FocusReason.ShortcutFocusReason)


class PageRouter(QObject):
    """Router that passes each request from a page to the page that handles the request, and shows
    that page."""

    def __init__(self, window: Window) -> None:
        super().__init__(window)
        self._window, self._pages = window, window.pages
        navigation = window.navigation
        navigation.open_run_requested.connect(self._open_run)
        navigation.show_time_requested.connect(self._show_time)
        navigation.comparison_requested.connect(self._compare)
        navigation.plan_requested.connect(self._plan)
        navigation.plan_inputs_requested.connect(self._plan_inputs)
        navigation.open_prices_requested.connect(self._open_prices)
        navigation.open_profile_requested.connect(self._open_profile)
        navigation.repeat_profile_requested.connect(self._repeat_profile)
        navigation.open_model_requested.connect(self._open_model)
        navigation.new_profile_requested.connect(self._create_profile)

    def create_endpoint_profile(self) -> None:
        self._window.show_page("run")
        self._pages.run.create_endpoint_profile()

    def _create_profile(self, kind: str) -> None:
        if kind == "local":
            self._window.show_page("run")
            self._pages.run.create_local_profile()
        else:
            self.create_endpoint_profile()

    def _open_run(self, directory: Path) -> None:
        self._window.show_page("results")
        self._pages.results.open_run(directory)

    def _show_time(self, time_s: float) -> None:
        self._window.show_page("results")
        self._pages.results.show_time(time_s)

    def _compare(self, runs: tuple[Path, ...]) -> None:
        self._window.show_page("compare")
        self._pages.compare.compare(runs)

    def _plan(self, sources: tuple[Path, ...]) -> None:
        self._window.show_page("plan")
        self._pages.plan.open_sources(sources)

    def _plan_inputs(self, request: PlanRequest) -> None:
        self._window.show_page("plan")
        self._pages.plan.presenter.open(request)

    def _open_prices(self, path: Path) -> None:
        self._window.show_page("plan")
        self._pages.plan.open_prices(path)

    def _open_profile(self, path: Path) -> None:
        remember_opened("profiles", path)
        self._window.show_page("run")
        self._pages.run.open_profile(path)

    def _repeat_profile(self, path: Path) -> None:
        from app.errors import SizewiseError
        from app.wiring.profile_runs import require_measurable_profile

        self._open_profile(path)
        try:
            require_measurable_profile(str(path))
        except SizewiseError as error:
            self._window.navigation.notify_error(error)
        else:
            self._pages.run.start_when_checked()

    def _open_model(self, path: Path) -> None:
        remember_opened("models", path)
        self._window.show_page("run")
        self._pages.run.open_model(path)
