"""Actions of the window, in the order of the menus. Each action is available on all pages: in a
menu, by keyboard shortcut and in the command palette."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu

from app.gui.navigation import PageKey
from app.gui.page import TITLES

Menu = Literal["file", "edit", "run", "view", "help"]


class ActionSpec(msgspec.Struct, frozen=True):
    """Specification of an action.

    `text` is the menu label, with `&` before the mnemonic. `shortcuts` are key sequences in Qt's
    portable format; the menu shows the first one. A separator is placed between adjacent actions
    with different `group` values.
    """

    name: str
    menu: Menu
    text: str
    shortcuts: tuple[str, ...]
    handler: Callable[[], object]
    group: int = 0


class Actions:
    """Menu bar of the window, and its actions (`QAction`) by name."""

    def __init__(self, window: QMainWindow, specs: tuple[ActionSpec, ...]) -> None:
        self.by_name: dict[str, QAction] = {}
        self._window = window
        self.menus = {key: self._add_menu(key, title) for key, title in _MENU_TITLES.items()}
        for previous_spec, spec in zip((None, *specs), specs, strict=False):
            menu = self.menus[spec.menu]
            if previous_spec is not None and previous_spec.menu == spec.menu and previous_spec.group != spec.group:
                menu.addSeparator()
            menu.addAction(self._create_action(spec))

    def list_actions(self) -> list[QAction]:
        return list(self.by_name.values())

    def _add_menu(self, key: str, title: str) -> QMenu:
        menu = self._window.menuBar().addMenu(title)
        menu.setObjectName(f"menu-{key}")
        return menu

    def _create_action(self, spec: ActionSpec) -> QAction:
        action = QAction(spec.text, self._window)
        action.setObjectName(spec.name)
        action.setShortcuts([QKeySequence(shortcut) for shortcut in spec.shortcuts])
        action.triggered.connect(lambda: spec.handler())
        self.by_name[spec.name] = action
        self._window.addAction(action)
        return action


_MENU_TITLES: dict[Menu, str] = {
    "file": "&File",
    "edit": "&Edit",
    "run": "&Run",
    "view": "&View",
    "help": "&Help",
}


class ActionHandlers(msgspec.Struct, frozen=True):
    """Handlers of the actions: functions that call the current page or the window."""

    open_files: Callable[[], object]
    export: Callable[[], object]
    settings: Callable[[], object]
    close: Callable[[], object]
    undo: Callable[[], object]
    redo: Callable[[], object]
    filter: Callable[[], object]
    copy_command: Callable[[], object]
    new_profile: Callable[[], object]
    start: Callable[[], object]
    repeat: Callable[[], object]
    stop: Callable[[], object]
    compare: Callable[[], object]
    show_page: Callable[[PageKey], object]
    palette: Callable[[], object]
    next_pane: Callable[[], object]
    reset_layout: Callable[[], object]
    help: Callable[[], object]
    report_problem: Callable[[], object]
    about: Callable[[], object]


def build_action_specs(handlers: ActionHandlers) -> tuple[ActionSpec, ...]:
    return (
        *_file_specs(handlers),
        *_edit_specs(handlers),
        *_run_specs(handlers),
        *_view_specs(handlers),
        *_help_specs(handlers),
    )


def _file_specs(handlers: ActionHandlers) -> tuple[ActionSpec, ...]:
    return (
        ActionSpec("new-profile", "file", "Create &new profile", ("Ctrl+N",), handlers.new_profile),
        ActionSpec("open", "file", "&Open…", ("Ctrl+O",), handlers.open_files),
        ActionSpec("export", "file", "&Export…", ("Ctrl+E",), handlers.export, 1),
        ActionSpec("settings", "file", "Open &settings…", ("Ctrl+,",), handlers.settings, 2),
        ActionSpec("quit", "file", "&Quit", ("Ctrl+Q",), handlers.close, 3),
    )


def _edit_specs(handlers: ActionHandlers) -> tuple[ActionSpec, ...]:
    return (
        ActionSpec("undo", "edit", "&Undo", ("Ctrl+Z",), handlers.undo),
        ActionSpec("redo", "edit", "&Redo", ("Ctrl+Shift+Z", "Ctrl+Y"), handlers.redo),
        ActionSpec("filter", "edit", "&Filter", ("Ctrl+F",), handlers.filter, 1),
        ActionSpec("copy-command", "edit", "Copy as &command", ("Ctrl+Shift+C",), handlers.copy_command, 2),
    )


def _run_specs(handlers: ActionHandlers) -> tuple[ActionSpec, ...]:
    return (
        ActionSpec("start", "run", "&Start", ("F5",), handlers.start),
        ActionSpec("repeat", "run", "&Repeat last run", ("Shift+F5",), handlers.repeat),
        ActionSpec("stop", "run", "S&top (Esc Esc)", (), handlers.stop),
        ActionSpec("compare", "run", "&Compare this run", ("Ctrl+D",), handlers.compare, 1),
    )


def _view_specs(handlers: ActionHandlers) -> tuple[ActionSpec, ...]:
    pages = tuple(
        ActionSpec(f"page-{key}", "view", title, (f"Ctrl+{number}",), _page_opener(handlers, key))
        for number, (key, title) in enumerate(TITLES.items(), 1)
    )
    return (
        *pages,
        ActionSpec("palette", "view", "Open command &palette", ("Ctrl+K",), handlers.palette, 1),
        ActionSpec("next-pane", "view", "Go to &next pane", ("F6",), handlers.next_pane, 1),
        ActionSpec("reset-layout", "view", "Reset &layout", (), handlers.reset_layout, 2),
    )


def _help_specs(handlers: ActionHandlers) -> tuple[ActionSpec, ...]:
    return (
        ActionSpec("help", "help", "Show &keyboard shortcuts", ("F1",), handlers.help),
        ActionSpec("report-problem", "help", "&Report a problem…", (), handlers.report_problem, 1),
        ActionSpec("about", "help", "&About Sizewise…", (), handlers.about, 2),
    )


def _page_opener(handlers: ActionHandlers, key: PageKey) -> Callable[[], object]:
    return lambda: handlers.show_page(key)
