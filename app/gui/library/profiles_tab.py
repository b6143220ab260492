"""The profiles there are: bundled, of stored runs, and the user's own; each checked."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from PySide6.QtWidgets import QWidget

from app.gui.background import Latest
from app.gui.library.files_kept import FilesKept, remembered
from app.gui.library.list_pane import ListPane
from app.gui.library.seen import SeenProfile, profiles_seen
from app.gui.navigation import Navigation
from app.gui.widgets import Empty, button, vbox
from app.reporting.run_rows import RunRow

_LONGEST = 300


class ProfilesTab(QWidget):
    def __init__(self, navigation: Navigation) -> None:
        super().__init__()
        self._navigation = navigation
        self._rows: Sequence[RunRow] = ()
        self._profiles: tuple[SeenProfile, ...] = ()
        self.kept = FilesKept("profiles", "Profiles (*.yaml *.yml)", self)
        self.open_button = button("&Open", self.open, primary=True)
        self.pane = ListPane(
            "Profiles",
            "A profile asks one question: target, workload, load, SLO. Bundled ones, those of runs, and your own.",
            (_HEADERS, {}),
            [self.open_button],
            [self.kept.relocate_button, self.kept.forget_button, button("&Add a profile…", self.kept.ask_add)],
            Empty("Checking the profiles…"),
        )
        vbox(self.pane, within=self)
        self._seen: Latest[tuple[SeenProfile, ...]] = Latest(self, self._show, navigation.tell_error)
        self.kept.changed.connect(self._look)
        self.pane.opened.connect(self.open)
        self.pane.chosen_changed.connect(self._tell_chosen)

    def show_runs(self, rows: Sequence[RunRow]) -> None:
        self._rows = rows
        self._look()

    def chosen(self) -> SeenProfile | None:
        place = self.pane.chosen()
        return None if place is None else self._profiles[place]

    def open(self) -> None:
        profile = self.chosen()
        if profile is not None and not profile.is_missing:
            self._navigation.profile_opened.emit(profile.path)

    def words_of_command(self) -> tuple[str, ...]:
        profile = self.chosen()
        if profile is None:
            return ("profiles", "list")
        return ("profiles", "check", profile.name if profile.origin == "bundled" else str(profile.path))

    def _look(self) -> None:
        rows, added = tuple(self._rows), remembered("profiles")
        self._seen.ask(lambda: profiles_seen(rows, added))

    def _show(self, profiles: tuple[SeenProfile, ...]) -> None:
        if profiles != self._profiles:
            self._profiles = profiles
            self.pane.set_frame(_frame(profiles))

    def _tell_chosen(self) -> None:
        profile = self.chosen()
        own = profile.path if profile is not None and profile.origin == "added" else None
        self.open_button.setEnabled(profile is not None and not profile.is_missing)
        self.kept.show_file(own, is_missing=profile is not None and profile.is_missing)


_HEADERS = {
    "name": "Profile",
    "origin": "From",
    "state": "Check",
    "description": "What it is",
    "file": "File",
}


def _frame(profiles: Sequence[SeenProfile]) -> pd.DataFrame:
    origins = {"bundled": "bundled", "added": "added", "run": "a run"}
    return pd.DataFrame(
        {
            "name": [one.name for one in profiles],
            "origin": [origins[one.origin] for one in profiles],
            "state": [_state(one) for one in profiles],
            "description": [one.description for one in profiles],
            "file": [str(one.path) for one in profiles],
        }
    )


def _state(profile: SeenProfile) -> str:
    if profile.is_missing:
        return "missing file"
    return "right" if profile.is_right else f"wrong: {profile.state[:_LONGEST]}"
