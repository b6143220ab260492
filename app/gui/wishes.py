"""What pages wish for, each passed to the page that fulfils it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject

from app.gui.library.remembered import remember_opened
from app.gui.window import Window


class Wishes(QObject):
    def __init__(self, window: Window) -> None:
        super().__init__(window)
        self._window, self._pages = window, window.pages
        navigation = window.navigation
        navigation.run_opened.connect(self._open_run)
        navigation.moment_wanted.connect(self._show_moment)
        navigation.comparison_wanted.connect(self._compare)
        navigation.plan_wanted.connect(self._plan)
        navigation.prices_opened.connect(self._open_prices)
        navigation.profile_opened.connect(self._open_profile)
        navigation.model_opened.connect(self._open_model)
        navigation.kind_wanted.connect(self._new_of_kind)

    def new_profile(self) -> None:
        self._window.show_page("run")
        self._pages.run.bench().new_endpoint()

    def _new_of_kind(self, kind: str) -> None:
        if kind == "local":
            self._window.show_page("run")
            self._pages.run.bench().new_local()
        else:
            self.new_profile()

    def _open_run(self, directory: Path) -> None:
        self._window.show_page("results")
        self._pages.results.open_run(directory)

    def _show_moment(self, at_s: float) -> None:
        self._window.show_page("results")
        self._pages.results.show_moment(at_s)

    def _compare(self, runs: tuple[Path, ...]) -> None:
        self._window.show_page("compare")
        self._pages.compare.compare(runs)

    def _plan(self, sources: tuple[Path, ...]) -> None:
        self._window.show_page("plan")
        self._pages.plan.open_sources(sources)

    def _open_prices(self, path: Path) -> None:
        self._window.show_page("plan")
        self._pages.plan.open_prices(path)

    def _open_profile(self, path: Path) -> None:
        remember_opened("profiles", path)
        self._window.show_page("run")
        self._pages.run.bench().open_profile(path)

    def _open_model(self, path: Path) -> None:
        remember_opened("models", path)
        self._window.show_page("run")
        self._pages.run.bench().open_model(path)
