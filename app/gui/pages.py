"""Stack of the seven pages. A page is created when it is first shown, so that the window opens
before most page modules are imported.

A page scrolls if the window is smaller than the page's minimum size, as with large text on a small
screen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QScrollArea, QStackedWidget

from app.gui.import_preloading import BACKGROUND_MODULES, load_modules
from app.gui.navigation import Navigation, PageKey
from app.gui.page import Page
from app.gui.theme import ThemeController

if TYPE_CHECKING:
    from app.gui.compare.page import ComparePage
    from app.gui.library.page import LibraryPage
    from app.gui.live.page import LivePage
    from app.gui.plan.page import PlanPage
    from app.gui.results.page import ResultsPage
    from app.gui.run.page import RunPage


_CLASSES: dict[PageKey, tuple[str, str]] = {
    "home": ("app.gui.home.page", "HomePage"),
    "run": ("app.gui.run.page", "RunPage"),
    "live": ("app.gui.live.page", "LivePage"),
    "results": ("app.gui.results.page", "ResultsPage"),
    "compare": ("app.gui.compare.page", "ComparePage"),
    "plan": ("app.gui.plan.page", "PlanPage"),
    "library": ("app.gui.library.page", "LibraryPage"),
}


class PageArea(QScrollArea):
    """Area of a page. The page fills the area, unless its minimum size is larger: then it scrolls.

    A scroll area that resizes its content itself would also scroll a page whose charts prefer more
    space than they need.
    """

    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page = page
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidget(page)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:
            self._fit_page()
        return super().event(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_page()

    def _fit_page(self) -> None:
        min_size, space = self._page.minimumSizeHint(), self.maximumViewportSize()
        if min_size.height() > space.height():
            space.setWidth(space.width() - self.verticalScrollBar().sizeHint().width())
        if min_size.width() > space.width():
            space.setHeight(space.height() - self.horizontalScrollBar().sizeHint().height())
        self._page.resize(min_size.expandedTo(space))


class Pages(QStackedWidget):
    def __init__(self, navigation: Navigation, theme_controller: ThemeController) -> None:
        super().__init__()
        self._navigation, self._theme_controller = navigation, theme_controller
        self._pages_by_key: dict[PageKey, Page] = {}
        self._areas_by_key: dict[PageKey, PageArea] = {}
        self._current_key: PageKey | None = None

    @property
    def current(self) -> Page:
        assert self._current_key is not None, "no page is shown yet"
        return self._pages_by_key[self._current_key]

    def created_pages(self) -> tuple[Page, ...]:
        return tuple(self._pages_by_key.values())

    def show_page(self, key: PageKey) -> Page:
        if self._current_key is not None and self._current_key != key:
            self.current.leave()
        page = self.page(key)
        self._current_key = key
        self.setCurrentWidget(self._areas_by_key[key])
        page.enter()
        return page

    def created_page(self, key: PageKey) -> Page | None:
        """Return the page `key`, or None if this page has not been created yet."""
        return self._pages_by_key.get(key)

    def page(self, key: PageKey) -> Page:
        if key not in self._pages_by_key:
            module, class_name = _CLASSES[key]
            *_, page_module = load_modules(*(() if key == "home" else BACKGROUND_MODULES), module)
            self._pages_by_key[key] = getattr(page_module, class_name)(self._navigation, self._theme_controller)
            self._areas_by_key[key] = PageArea(self._pages_by_key[key])
            self.addWidget(self._areas_by_key[key])
        return self._pages_by_key[key]

    @property
    def run(self) -> RunPage:
        return cast("RunPage", self.page("run"))

    @property
    def live(self) -> LivePage:
        return cast("LivePage", self.page("live"))

    @property
    def results(self) -> ResultsPage:
        return cast("ResultsPage", self.page("results"))

    @property
    def compare(self) -> ComparePage:
        return cast("ComparePage", self.page("compare"))

    @property
    def plan(self) -> PlanPage:
        return cast("PlanPage", self.page("plan"))

    @property
    def library(self) -> LibraryPage:
        return cast("LibraryPage", self.page("library"))
