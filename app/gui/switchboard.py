"""What menus and keys ask of the page that is shown, whichever it is."""

from __future__ import annotations

from PySide6.QtCore import QObject, Qt
from PySide6.QtWidgets import QApplication, QWidget

from app.gui.window import Window


class Switchboard(QObject):
    def __init__(self, window: Window) -> None:
        super().__init__(window)
        self._window, self._pages, self._navigation = window, window.pages, window.navigation

    def export(self) -> None:
        if not self._pages.shown.export():
            self._navigation.tell("news", "There is nothing to export here yet.")

    def undo(self) -> None:
        stack = self._pages.shown.undo_stack()
        if stack is not None:
            stack.undo()

    def redo(self) -> None:
        stack = self._pages.shown.undo_stack()
        if stack is not None:
            stack.redo()

    def filter(self) -> None:
        field = self._pages.shown.filter_field()
        if field is not None:
            field.setFocus(Qt.FocusReason.ShortcutFocusReason)
            field.selectAll()

    def compare(self) -> None:
        runs = self._pages.shown.runs()
        if not runs:
            self._navigation.tell("news", "No run is shown or ticked here that could be compared.")
            return
        self._navigation.comparison_wanted.emit(runs)

    def show_settings(self) -> None:
        from app.gui.settings_dialog import SettingsDialog

        SettingsDialog(self._window, self._window.settings, self._window.look).show()

    def show_help(self) -> None:
        from app.gui.help import HelpDialog

        actions = self._window.actions_
        HelpDialog(self._window, actions.all() if actions is not None else []).show()

    def next_pane(self) -> None:
        """From the rail to the page, to each open dock, and round."""
        window = self._window
        panes: list[QWidget] = [window.rail, self._pages.shown, *window.open_docks()]
        focused = QApplication.focusWidget()
        inside = [focused is not None and (pane is focused or pane.isAncestorOf(focused)) for pane in panes]
        target = panes[(inside.index(True) + 1) % len(panes)] if True in inside else panes[0]
        _focus_first(target)


def _focus_first(pane: QWidget) -> None:
    """The first thing in it that keys reach."""
    candidates = [pane, *pane.findChildren(QWidget)]
    reachable = (
        widget
        for widget in candidates
        if widget.isVisibleTo(pane) and widget.isEnabled() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus
    )
    widget = next(reachable, None)
    if widget is not None:
        widget.setFocus(Qt.FocusReason.ShortcutFocusReason)
