from __future__ import annotations

import pytest
from PySide6.QtWidgets import QLabel, QLineEdit, QScrollArea, QWidget
from pytestqt.qtbot import QtBot

from app.gui.plan.page import PlanPage
from app.gui.plan.workbench import LayoutMode, Panels, ResponsiveLayout
from app.gui.theme import ThemeController


class Scrolled(QScrollArea):
    """As the page holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.parts = Panels(*(QLineEdit() for _ in range(4)))
        for part, width in zip(self.parts, (200, 150, 250, 180), strict=True):
            part.setMinimumWidth(width)
        self.folding = ResponsiveLayout(self.parts)
        self.setWidget(self.folding)

    def place(self, part: QWidget) -> tuple[int, int]:
        where = part.mapTo(self.folding, part.rect().topLeft())
        return where.x(), where.y()


@pytest.fixture
def scrolled(qtbot: QtBot) -> Scrolled:
    scrolled = Scrolled()
    qtbot.addWidget(scrolled)
    scrolled.resize(900, 600)
    with qtbot.waitExposed(scrolled):
        scrolled.show()
    return scrolled


@pytest.mark.parametrize(("width", "fold"), [(900, "three"), (620, "three"), (580, "two"), (450, "two"), (400, "one")])
def test_it_folds_as_it_gets_narrower_and_never_scrolls_sideways(
    qtbot: QtBot, scrolled: Scrolled, width: int, fold: LayoutMode
) -> None:
    scrolled.resize(width, 600)
    qtbot.waitUntil(lambda: scrolled.folding.layout_mode == fold)
    qtbot.waitUntil(lambda: scrolled.horizontalScrollBar().maximum() == 0)
    assert all(part.isVisible() for part in scrolled.parts)


def test_where_the_parts_stand(qtbot: QtBot, scrolled: Scrolled) -> None:
    left, centre, right, below = scrolled.parts
    for width, fold in ((450, "two"), (300, "one"), (900, "three")):
        scrolled.resize(width, 600)
        qtbot.waitUntil(lambda fold=fold: scrolled.folding.layout_mode == fold)  # type: ignore[misc]
        qtbot.waitUntil(lambda: scrolled.place(below)[1] > scrolled.place(centre)[1] + 20)
        is_beside = scrolled.place(centre)[0] > scrolled.place(left)[0]
        is_right_below_left = scrolled.place(right)[1] > scrolled.place(left)[1]
        assert is_beside == (fold != "one")
        assert is_right_below_left == (fold == "two")


def test_letters_that_get_larger_fold_it_too(qtbot: QtBot, scrolled: Scrolled) -> None:
    scrolled.parts.center.setMinimumWidth(500)
    qtbot.waitUntil(lambda: scrolled.folding.layout_mode == "two")


def test_larger_text_folds_it_once_all_widgets_have_received_of_it(qtbot: QtBot, look: ThemeController) -> None:
    """Qt goes through a list of all widgets then: the process ends if one of them is gone."""
    folding, area = ResponsiveLayout(Panels(*(QLabel("m" * 20) for _ in range(4)))), QScrollArea()
    qtbot.addWidget(area)
    area.setWidgetResizable(True)
    area.setWidget(folding)
    area.show()
    area.resize(3 * QLabel("m" * 20).sizeHint().width() + 60, 600)
    qtbot.waitUntil(lambda: folding.layout_mode == "three")
    for _ in range(3):
        look.scale_text(2.0)
        qtbot.waitUntil(lambda: folding.layout_mode != "three")
        look.scale_text(1.0)
        qtbot.waitUntil(lambda: folding.layout_mode == "three")


def roomy() -> QScrollArea:
    """It prefers more space than it needs."""
    area, inside = QScrollArea(), QLabel()
    inside.setFixedSize(50, 2_000)
    area.setWidget(inside)
    return area


def test_a_small_window_shows_the_offers_before_the_page_scrolls(qtbot: QtBot) -> None:
    folding = ResponsiveLayout(Panels(*(roomy() for _ in range(4))))
    qtbot.addWidget(folding)
    assert folding.layout_mode == "three"
    assert folding.sizeHint().height() == 26 * folding.fontMetrics().lineSpacing()


def test_a_wide_window_gives_the_columns_shares_of_its_width(qtbot: QtBot) -> None:
    """Whatever width the chart between them prefers."""
    chart = QScrollArea()
    chart.setWidget(QLabel("m" * 200))
    left, right = QLineEdit(), QLineEdit()
    folding = ResponsiveLayout(Panels(left, chart, right, QLineEdit()))
    qtbot.addWidget(folding)
    folding.resize(1440, 600)
    folding.show()
    qtbot.waitUntil(lambda: left.width() > 230 and right.width() > 400)


def test_a_wide_window_widens_what_is_empty_until_there_is_a_plan(qtbot: QtBot) -> None:
    """Not only the chart, which prefers the most."""
    panels = Panels(QLabel("traffic"), roomy(), QLabel(), QLabel())
    folding = ResponsiveLayout(panels)
    qtbot.addWidget(folding)
    folding.resize(2_400, 600)
    with qtbot.waitExposed(folding):
        folding.show()
    assert folding.layout_mode == "three"
    left, centre, right, _ = (panel.width() for panel in panels)
    assert centre > right > left > 500


def test_who_types_goes_on_typing(qtbot: QtBot, scrolled: Scrolled) -> None:
    scrolled.parts.right.setFocus()
    scrolled.resize(450, 600)
    qtbot.waitUntil(lambda: scrolled.folding.layout_mode == "two")
    assert scrolled.parts.right.hasFocus()


@pytest.mark.parametrize(("size", "scale"), [((1024, 700), 1.0), ((1400, 900), 2.0)])
def test_the_page_does_not_scroll_sideways(
    qtbot: QtBot, opened: PlanPage, look: ThemeController, size: tuple[int, int], scale: float
) -> None:
    """With as much beside it as the window's rail and margins take."""
    look.scale_text(scale)
    try:
        rail = round(110 * scale)
        opened.resize(size[0] - rail, size[1] - 60)
        area = opened.work_area
        qtbot.waitUntil(lambda: opened.width() == size[0] - rail and area.horizontalScrollBar().maximum() == 0)
        inside = area.widget()
        assert inside is not None
        assert inside.width() <= area.viewport().width()
    finally:
        look.scale_text(1.0)
