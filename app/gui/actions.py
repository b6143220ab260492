"""What can be done from anywhere: menus, keys and the command palette show the same list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu

Menu = Literal["file", "edit", "run", "view", "help"]


class Deed(msgspec.Struct, frozen=True):
    """`text` has its mnemonic; `keys` are portable names, the first shown in the menu; a `group` is set apart."""

    name: str
    menu: Menu
    text: str
    keys: tuple[str, ...]
    do: Callable[[], object]
    group: int = 0


class Actions:
    """The deeds as actions of the window, by name, and its menu bar."""

    def __init__(self, window: QMainWindow, deeds: tuple[Deed, ...]) -> None:
        self.by_name: dict[str, QAction] = {}
        self._window = window
        self.menus = {key: self._menu(key, title) for key, title in _TITLES.items()}
        for before, deed in zip((None, *deeds), deeds, strict=False):
            menu = self.menus[deed.menu]
            if before is not None and before.menu == deed.menu and before.group != deed.group:
                menu.addSeparator()
            menu.addAction(self._action(deed))

    def all(self) -> list[QAction]:
        return list(self.by_name.values())

    def _menu(self, key: str, title: str) -> QMenu:
        menu = self._window.menuBar().addMenu(title)
        menu.setObjectName(f"menu-{key}")
        return menu

    def _action(self, deed: Deed) -> QAction:
        action = QAction(deed.text, self._window)
        action.setObjectName(deed.name)
        action.setShortcuts([QKeySequence(keys) for keys in deed.keys])
        action.triggered.connect(lambda: deed.do())
        self.by_name[deed.name] = action
        self._window.addAction(action)
        return action


_TITLES: dict[Menu, str] = {
    "file": "&File",
    "edit": "&Edit",
    "run": "&Run",
    "view": "&View",
    "help": "&Help",
}
