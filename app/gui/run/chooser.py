"""Where a profile comes from: bundled ones with what they ask, recent files, a file, or a new one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QMenu, QToolButton

from app.gui.settings import open_settings
from app.gui.widgets import tip

_RECENT = "run/recent"
_MOST_RECENT = 8


class Sources(msgspec.Struct, frozen=True):
    """What the page does with each, so that the empty state offers the same."""

    open_profile: Callable[[Path], object]
    ask_profile: Callable[[], object]
    new_endpoint: Callable[[], object]
    new_local: Callable[[], object]
    new_scripted: Callable[[], object]


class Chooser(QToolButton):
    """Its text is what is being edited."""

    def __init__(self, sources: Sources, bundled: Callable[[], dict[str, tuple[Path, str]]]) -> None:
        super().__init__()
        self._sources, self._bundled = sources, bundled
        self.setProperty("role", "heading")
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu_ = QMenu(self)
        self.menu_.setToolTipsVisible(True)
        self.menu_.aboutToShow.connect(self._fill)
        self.setMenu(self.menu_)

    def say(self, title: str, is_saved: bool) -> None:
        self.setText(f"{title[:60]} " if is_saved else f"{title[:60]} (unsaved) ")
        self.setAccessibleName(f"Profile: {self.text().strip()}")

    def _fill(self) -> None:
        menu = self.menu_
        menu.clear()
        menu.addAction("&Open…", self._sources.ask_profile)
        fresh = menu.addMenu("&New from")
        fresh.addAction("an &endpoint", self._sources.new_endpoint)
        fresh.addAction("a &local model", self._sources.new_local)
        fresh.addAction("a &scripted sample", self._sources.new_scripted)
        bundled = menu.addMenu("&Bundled")
        for name, (path, told) in self._bundled().items():
            self._offer(bundled, name, told, path)
        menu.addSeparator()
        for path in recent(open_settings()):
            self._offer(menu, path.name, str(path.parent), path)

    def _offer(self, menu: QMenu, name: str, told: str, path: Path) -> None:
        action = menu.addAction(f"{name}   {told[:70]}".replace("&", "&&"))
        action.setToolTip(tip(told))
        action.triggered.connect(lambda: self._sources.open_profile(path))


def recent(settings: QSettings) -> list[Path]:
    """Those that are still there, the newest first."""
    held = settings.value(_RECENT, [])
    names = [held] if isinstance(held, str) else held if isinstance(held, list) else []
    return [path for name in names if (path := Path(str(name))).is_file()]


def remember(settings: QSettings, path: Path) -> None:
    names = [str(path), *(str(one) for one in recent(settings) if one != path)]
    settings.setValue(_RECENT, names[:_MOST_RECENT])


def bundled_with_words() -> dict[str, tuple[Path, str]]:
    """Every bundled profile with what it asks."""
    from app.profiles.bundled import bundled_profiles
    from app.profiles.document import read_document

    found = {}
    for name, path in bundled_profiles().items():
        tree = read_document(path.read_bytes(), name).value
        found[name] = (path, str(tree.get("description", "")))
    return found
