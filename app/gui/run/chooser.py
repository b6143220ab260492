"""Menu that opens bundled profiles, recent files and other files, and creates profiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QMenu, QToolButton

from app.gui.formatting import shorten
from app.gui.settings import open_settings
from app.gui.widgets import tool_tip_text

_RECENT_FILES_KEY = "run/recent"
_MAX_RECENT_FILES = 8


class ProfileActions(msgspec.Struct, frozen=True):
    """Actions that open or create a profile, shared by the profile menu and the empty state of the
    page."""

    open_profile: Callable[[Path], object]
    choose_profile: Callable[[], object]
    create_endpoint_profile: Callable[[], object]
    create_openai_profile: Callable[[], object]
    create_local_profile: Callable[[], object]
    create_scripted_profile: Callable[[], object]


class Chooser(QToolButton):
    """Menu button labeled with the name of the current profile."""

    def __init__(
        self, profile_actions: ProfileActions, list_bundled: Callable[[], dict[str, tuple[Path, str]]]
    ) -> None:
        super().__init__()
        self._profile_actions, self._list_bundled = profile_actions, list_bundled
        self.setProperty("role", "heading")
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.profile_menu = QMenu(self)
        self.profile_menu.setToolTipsVisible(True)
        self.profile_menu.aboutToShow.connect(self._fill_menu)
        self.setMenu(self.profile_menu)

    def set_profile(self, title: str, is_saved: bool) -> None:
        self.setText(f"{shorten(title, 60)} " if is_saved else f"{shorten(title, 60)} (unsaved) ")
        self.setAccessibleName(f"Profile: {self.text().strip()}")

    def _fill_menu(self) -> None:
        menu = self.profile_menu
        menu.clear()
        menu.addAction("&Open…", self._profile_actions.choose_profile)
        new_menu = menu.addMenu("Create &new profile")
        new_menu.addAction("&Endpoint", self._profile_actions.create_endpoint_profile)
        new_menu.addAction("&OpenAI-compatible server", self._profile_actions.create_openai_profile)
        new_menu.addAction("&Local model", self._profile_actions.create_local_profile)
        new_menu.addAction("&Scripted server", self._profile_actions.create_scripted_profile)
        bundled_menu = menu.addMenu("&Bundled")
        for name, (path, description) in self._list_bundled().items():
            self._add_profile(bundled_menu, name, description, path)
        menu.addSeparator()
        for path in recent_files(open_settings()):
            self._add_profile(menu, path.name, str(path.parent), path)

    def _add_profile(self, menu: QMenu, name: str, description: str, path: Path) -> None:
        action = menu.addAction(f"{name}   {shorten(description, 70)}".replace("&", "&&"))
        action.setToolTip(tool_tip_text(description))
        action.triggered.connect(lambda: self._profile_actions.open_profile(path))


def recent_files(settings: QSettings) -> list[Path]:
    """Return the recently opened files that still exist, newest first."""
    stored_value = settings.value(_RECENT_FILES_KEY, [])
    stored_paths = (
        [stored_value] if isinstance(stored_value, str) else stored_value if isinstance(stored_value, list) else []
    )
    return [path for name in stored_paths if (path := Path(str(name))).is_file()]


def add_recent_file(settings: QSettings, path: Path) -> None:
    stored_paths = [str(path), *(str(recent_path) for recent_path in recent_files(settings) if recent_path != path)]
    settings.setValue(_RECENT_FILES_KEY, stored_paths[:_MAX_RECENT_FILES])


def describe_bundled_profiles() -> dict[str, tuple[Path, str]]:
    """Return the path and the description of each bundled profile, by name."""
    from app.profiles.bundled import bundled_profiles
    from app.profiles.document import read_document

    described_profiles = {}
    for name, path in bundled_profiles().items():
        tree = read_document(path.read_bytes(), name).value
        described_profiles[name] = (path, str(tree.get("description", "")))
    return described_profiles
