"""The seven pages, each made when it is first wanted: the window shows before most of them are imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from PySide6.QtWidgets import QStackedWidget

from app.gui.navigation import Navigation, PageKey
from app.gui.page import Page
from app.gui.theme import Look

if TYPE_CHECKING:
    from app.gui.compare.page import ComparePage
    from app.gui.library.page import LibraryPage
    from app.gui.live.page import LivePage
    from app.gui.plan.page import PlanPage
    from app.gui.results.page import ResultsPage
    from app.gui.run.page import RunPage

KEYS: tuple[PageKey, ...] = get_args(PageKey)


TITLES: dict[PageKey, str] = {
    "home": "Home",
    "run": "Run",
    "live": "Live",
    "results": "Results",
    "compare": "Compare",
    "plan": "Plan",
    "library": "Library",
}


class Pages(QStackedWidget):
    def __init__(self, navigation: Navigation, look: Look) -> None:
        super().__init__()
        self._navigation, self._look = navigation, look
        self._made: dict[PageKey, Page] = {}
        self._shown: PageKey | None = None

    @property
    def shown(self) -> Page:
        assert self._shown is not None, "a page is shown from the window's first moment"
        return self._made[self._shown]

    def made(self) -> tuple[Page, ...]:
        return tuple(self._made.values())

    def show_page(self, key: PageKey) -> Page:
        if self._shown is not None and self._shown != key:
            self.shown.leave()
        page = self.page(key)
        self._shown = key
        self.setCurrentWidget(page)
        page.enter()
        return page

    def found(self, key: PageKey) -> Page | None:
        """None where nobody wanted it yet."""
        return self._made.get(key)

    def page(self, key: PageKey) -> Page:
        if key not in self._made:
            self._made[key] = self._new(key)
            self.addWidget(self._made[key])
        return self._made[key]

    @property
    def run(self) -> RunPage:
        from app.gui.run.page import RunPage

        page = self.page("run")
        assert isinstance(page, RunPage)
        return page

    @property
    def live(self) -> LivePage:
        from app.gui.live.page import LivePage

        page = self.page("live")
        assert isinstance(page, LivePage)
        return page

    @property
    def results(self) -> ResultsPage:
        from app.gui.results.page import ResultsPage

        page = self.page("results")
        assert isinstance(page, ResultsPage)
        return page

    @property
    def compare(self) -> ComparePage:
        from app.gui.compare.page import ComparePage

        page = self.page("compare")
        assert isinstance(page, ComparePage)
        return page

    @property
    def plan(self) -> PlanPage:
        from app.gui.plan.page import PlanPage

        page = self.page("plan")
        assert isinstance(page, PlanPage)
        return page

    @property
    def library(self) -> LibraryPage:
        from app.gui.library.page import LibraryPage

        page = self.page("library")
        assert isinstance(page, LibraryPage)
        return page

    def _new(self, key: PageKey) -> Page:
        return _page_class(key)(self._navigation, self._look)


def _page_class(key: PageKey) -> type[Page]:
    match key:
        case "home":
            from app.gui.home.page import HomePage

            return HomePage
        case "run":
            from app.gui.run.page import RunPage

            return RunPage
        case "live":
            from app.gui.live.page import LivePage

            return LivePage
        case "results":
            from app.gui.results.page import ResultsPage

            return ResultsPage
        case "compare":
            from app.gui.compare.page import ComparePage

            return ComparePage
        case "plan":
            from app.gui.plan.page import PlanPage

            return PlanPage
        case "library":
            from app.gui.library.page import LibraryPage

            return LibraryPage
