"""Profiles tab: bundled profiles, profiles of stored runs and profiles that the user added, each
with its validation result."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from PySide6.QtWidgets import QWidget

from app.gui.background import LatestRunner
from app.gui.formatting import shorten
from app.gui.library.list_pane import ListPane
from app.gui.library.remembered_files import RememberedFileActions, list_remembered_files
from app.gui.library.usage import ProfileUsage, find_profiles
from app.gui.navigation import Navigation
from app.gui.widgets import EmptyState, button, vbox
from app.reporting.run_rows import RunRow

_MAX_CHARACTERS = 300


class ProfilesTab(QWidget):
    def __init__(self, navigation: Navigation) -> None:
        super().__init__()
        self._navigation = navigation
        self._rows: Sequence[RunRow] = ()
        self._profiles: tuple[ProfileUsage, ...] = ()
        self.file_actions = RememberedFileActions("profiles", "Profiles (*.yaml *.yml)", self)
        self.open_button = button("&Open", self.open, primary=True)
        self.pane = ListPane(
            "Profiles",
            "These profiles are bundled with Sizewise, used by your runs, or added by you. "
            "A profile defines the target, workload, load and SLO.",
            (_HEADERS, {}),
            [self.open_button],
            [
                self.file_actions.relocate_button,
                self.file_actions.forget_button,
                button("&Add profile…", self.file_actions.choose_file_to_add),
            ],
            EmptyState("Checking profiles…"),
        )
        vbox(self.pane, within=self)
        self._latest_profiles: LatestRunner[tuple[ProfileUsage, ...]] = LatestRunner(
            self, self._show, navigation.notify_error
        )
        self.file_actions.changed.connect(self._find_profiles)
        self.pane.opened.connect(self.open)
        self.pane.selection_changed.connect(self._on_selection_changed)

    def show_runs(self, rows: Sequence[RunRow]) -> None:
        self._rows = rows
        self._find_profiles()

    def selected_profile(self) -> ProfileUsage | None:
        index = self.pane.selected_index()
        return None if index is None else self._profiles[index]

    def open(self) -> None:
        profile = self.selected_profile()
        if profile is not None and not profile.is_missing:
            self._navigation.open_profile_requested.emit(profile.path)

    def command_arguments(self) -> tuple[str, ...]:
        profile = self.selected_profile()
        if profile is None:
            return ("profiles", "list")
        return ("profiles", "check", profile.name if profile.origin == "bundled" else str(profile.path))

    def _find_profiles(self) -> None:
        rows, added_paths = tuple(self._rows), list_remembered_files("profiles")
        self._latest_profiles.request(lambda: find_profiles(rows, added_paths))

    def _show(self, profiles: tuple[ProfileUsage, ...]) -> None:
        if profiles != self._profiles:
            self._profiles = profiles
            self.pane.set_frame(_build_frame(profiles))

    def _on_selection_changed(self) -> None:
        profile = self.selected_profile()
        added_path = profile.path if profile is not None and profile.origin == "added" else None
        self.open_button.setEnabled(profile is not None and not profile.is_missing)
        self.file_actions.show_file(added_path, is_missing=profile is not None and profile.is_missing)


_HEADERS = {
    "name": "Profile",
    "origin": "Source",
    "state": "Validation",
    "description": "Description",
    "file": "File",
}


def _build_frame(profiles: Sequence[ProfileUsage]) -> pd.DataFrame:
    origin_labels = {"bundled": "bundled", "added": "added", "run": "run"}
    return pd.DataFrame(
        {
            "name": [profile.name for profile in profiles],
            "origin": [origin_labels[profile.origin] for profile in profiles],
            "state": [_format_validation(profile) for profile in profiles],
            "description": [profile.description for profile in profiles],
            "file": [str(profile.path) for profile in profiles],
        }
    )


def _format_validation(profile: ProfileUsage) -> str:
    if profile.is_missing:
        return "missing file"
    return "valid" if profile.is_valid else f"has errors: {shorten(profile.problem, _MAX_CHARACTERS)}"
