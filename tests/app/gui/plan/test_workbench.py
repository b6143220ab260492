from __future__ import annotations

import pytest
from PySide6.QtWidgets import QLabel, QLineEdit, QScrollArea, QWidget
from pytestqt.qtbot import QtBot

from app.gui.plan.page import PlanPage
from app.gui.plan.workbench import LayoutMode, Panels, ResponsiveLayout
from app.gui.theme import ThemeController


class ScrolledLayout(QScrollArea):
    """A scroll area with the workbench layout, as on the Plan page."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.panels = Panels(*(QLineEdit() for _ in range(4)))
        for part, width in zip(self.panels, (200, 150, 250, 180), strict=True):
            part.setMinimumWidth(width)
        self.responsive_layout = ResponsiveLayout(self.panels)
        self.setWidget(self.responsive_layout)

    def get_position(self, panel: QWidget) -> tuple[int, int]:
        position = panel.mapTo(self.responsive_layout, panel.rect().topLeft())
        return position.x(), position.y()


@pytest.fixture
def scrolled(qtbot: QtBot) -> ScrolledLayout:
    scrolled = ScrolledLayout()
    qtbot.addWidget(scrolled)
    scrolled.resize(900, 600)
    with qtbot.waitExposed(scrolled):
        scrolled.show()
    return scrolled


@pytest.mark.parametrize(
    ("width", "layout_mode"), [(900, "three"), (620, "three"), (580, "two"), (450, "two"), (400, "one")]
)
def test_plan_layout_folds_with_the_width_and_never_scrolls_horizontally(
    qtbot: QtBot, scrolled: ScrolledLayout, width: int, layout_mode: LayoutMode
) -> None:
    scrolled.resize(width, 600)
    qtbot.waitUntil(lambda: scrolled.responsive_layout.layout_mode == layout_mode)
    qtbot.waitUntil(lambda: scrolled.horizontalScrollBar().maximum() == 0)
    assert all(panel.isVisible() for panel in scrolled.panels)


def test_plan_layout_modes_arrange_the_panels(qtbot: QtBot, scrolled: ScrolledLayout) -> None:
    left, center, right, bottom = scrolled.panels
    for width, layout_mode in ((450, "two"), (300, "one"), (900, "three")):
        scrolled.resize(width, 600)
        qtbot.waitUntil(lambda layout_mode=layout_mode: scrolled.responsive_layout.layout_mode == layout_mode)  # type: ignore[misc]
        qtbot.waitUntil(lambda: scrolled.get_position(bottom)[1] > scrolled.get_position(center)[1] + 20)
        is_beside = scrolled.get_position(center)[0] > scrolled.get_position(left)[0]
        is_right_below_left = scrolled.get_position(right)[1] > scrolled.get_position(left)[1]
        assert is_beside == (layout_mode != "one")
        assert is_right_below_left == (layout_mode == "two")


def test_wider_panel_folds_the_plan_layout(qtbot: QtBot, scrolled: ScrolledLayout) -> None:
    scrolled.panels.center.setMinimumWidth(500)
    qtbot.waitUntil(lambda: scrolled.responsive_layout.layout_mode == "two")


def test_plan_layout_folds_with_larger_text_and_unfolds_with_default_text(qtbot: QtBot, theme: ThemeController) -> None:
    """Qt iterates over all widgets then: the process crashes if one of them is deleted meanwhile."""
    folding, area = ResponsiveLayout(Panels(*(QLabel("m" * 20) for _ in range(4)))), QScrollArea()
    qtbot.addWidget(area)
    area.setWidgetResizable(True)
    area.setWidget(folding)
    area.show()
    area.resize(3 * QLabel("m" * 20).sizeHint().width() + 60, 600)
    qtbot.waitUntil(lambda: folding.layout_mode == "three")
    for _ in range(3):
        theme.scale_text(2.0)
        qtbot.waitUntil(lambda: folding.layout_mode != "three")
        theme.scale_text(1.0)
        qtbot.waitUntil(lambda: folding.layout_mode == "three")


def make_scroll_area() -> QScrollArea:
    """Return a scroll area whose preferred height exceeds its minimum height."""
    area, inside = QScrollArea(), QLabel()
    inside.setFixedSize(50, 2_000)
    area.setWidget(inside)
    return area


def test_plan_layout_prefers_26_lines_of_height_despite_taller_panels(qtbot: QtBot) -> None:
    folding = ResponsiveLayout(Panels(*(make_scroll_area() for _ in range(4))))
    qtbot.addWidget(folding)
    assert folding.layout_mode == "three"
    assert folding.sizeHint().height() == 26 * folding.fontMetrics().lineSpacing()


def test_side_panels_of_the_plan_layout_grow_despite_a_wide_chart(qtbot: QtBot) -> None:
    chart = QScrollArea()
    chart.setWidget(QLabel("m" * 200))
    left, right = QLineEdit(), QLineEdit()
    folding = ResponsiveLayout(Panels(left, chart, right, QLineEdit()))
    qtbot.addWidget(folding)
    folding.resize(1440, 600)
    folding.show()
    qtbot.waitUntil(lambda: left.width() > 230 and right.width() > 400)


def test_empty_panels_of_the_plan_layout_grow_in_a_wide_window(qtbot: QtBot) -> None:
    panels = Panels(QLabel("traffic"), make_scroll_area(), QLabel(), QLabel())
    folding = ResponsiveLayout(panels)
    qtbot.addWidget(folding)
    folding.resize(2_400, 600)
    with qtbot.waitExposed(folding):
        folding.show()
    assert folding.layout_mode == "three"
    left, center, right, _ = (panel.width() for panel in panels)
    assert center > right > left > 500


def test_focus_is_unchanged_when_the_plan_layout_folds(qtbot: QtBot, scrolled: ScrolledLayout) -> None:
    scrolled.panels.right.setFocus()
    scrolled.resize(450, 600)
    qtbot.waitUntil(lambda: scrolled.responsive_layout.layout_mode == "two")
    assert scrolled.panels.right.hasFocus()


@pytest.mark.parametrize(("size", "scale"), [((1024, 700), 1.0), ((1400, 900), 2.0)])
def test_plan_page_does_not_scroll_horizontally(
    qtbot: QtBot, small_plan_page: PlanPage, theme: ThemeController, size: tuple[int, int], scale: float
) -> None:
    """The page is as narrow as beside the navigation rail and margins of the window."""
    theme.scale_text(scale)
    try:
        rail = round(110 * scale)
        small_plan_page.resize(size[0] - rail, size[1] - 60)
        area = small_plan_page.work_area
        qtbot.waitUntil(lambda: small_plan_page.width() == size[0] - rail and area.horizontalScrollBar().maximum() == 0)
        inside = area.widget()
        assert inside is not None
        assert inside.width() <= area.viewport().width()
    finally:
        theme.scale_text(1.0)
