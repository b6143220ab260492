"""Profile menu with bundled profiles and their descriptions, recent files, a file dialog, and new
profiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QMenu, QToolButton

from app.gui.settings import open_settings
from app.gui.widgets import tool_tip_text

_RECENT = "run/recent"
_MAX_RECENT = 8


class ProfileActions(msgspec.Struct, frozen=True):
    """Actions that open or create a profile, shared by the profile menu and the empty state of the
    page."""

    open_profile: Callable[[Path], object]
    choose_profile: Callable[[], object]
    new_endpoint: Callable[[], object]
    new_local: Callable[[], object]
    new_scripted: Callable[[], object]


class Chooser(QToolButton):
    """Menu button labeled with the name of the current profile."""

    def __init__(self, sources: ProfileActions, bundled: Callable[[], dict[str, tuple[Path, str]]]) -> None:
        super().__init__()
        self._sources, self._bundled = sources, bundled
        self.setProperty("role", "heading")
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu_ = QMenu(self)
        self.menu_.setToolTipsVisible(True)
        self.menu_.aboutToShow.connect(self._fill)
        self.setMenu(self.menu_)

    def set_profile(self, title: str, is_saved: bool) -> None:
        self.setText(f"{title[:60]} " if is_saved else f"{title[:60]} (unsaved) ")
        self.setAccessibleName(f"Profile: {self.text().strip()}")

    def _fill(self) -> None:
        menu = self.menu_
        menu.clear()
        menu.addAction("&Open…", self._sources.choose_profile)
        new_menu = menu.addMenu("&New from")
        new_menu.addAction("&Endpoint", self._sources.new_endpoint)
        new_menu.addAction("&Local model", self._sources.new_local)
        new_menu.addAction("&Simulated server", self._sources.new_scripted)
        bundled = menu.addMenu("&Bundled")
        for name, (path, description) in self._bundled().items():
            self._add_profile(bundled, name, description, path)
        menu.addSeparator()
        for path in recent_files(open_settings()):
            self._add_profile(menu, path.name, str(path.parent), path)

    def _add_profile(self, menu: QMenu, name: str, description: str, path: Path) -> None:
        action = menu.addAction(f"{name}   {description[:70]}".replace("&", "&&"))
        action.setToolTip(tool_tip_text(description))
        action.triggered.connect(lambda: self._sources.open_profile(path))


def recent_files(settings: QSettings) -> list[Path]:
    """Return the recently opened files that still exist, newest first."""
    stored = settings.value(_RECENT, [])
    names = [stored] if isinstance(stored, str) else stored if isinstance(stored, list) else []
    return [path for name in names if (path := Path(str(name))).is_file()]


def add_recent_file(settings: QSettings, path: Path) -> None:
    names = [str(path), *(str(recent_path) for recent_path in recent_files(settings) if recent_path != path)]
    settings.setValue(_RECENT, names[:_MAX_RECENT])


def describe_bundled_profiles() -> dict[str, tuple[Path, str]]:
    """Return the path and the description of each bundled profile, by name."""
    from app.profiles.bundled import bundled_profiles
    from app.profiles.document import read_document

    profiles = {}
    for name, path in bundled_profiles().items():
        tree = read_document(path.read_bytes(), name).value
        profiles[name] = (path, str(tree.get("description", "")))
    return profiles
