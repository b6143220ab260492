"""Every page, empty and with a run: accessible names, keyboard access and no clipped text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication, QTabWidget

from app.gui.page import TITLES
from app.gui.window import Window
from tests.fakes.long_texts import longer_texts
from tests.fakes.widget_walk import (
    clipped_texts,
    controls_skipped_by_tab,
    shared_mnemonics,
    sideways_scrolling_areas,
    unnamed_widgets,
    unreachable_widgets,
    windows_shown,
)
from tests.gui.screens.rendering import fill, wait_until_idle

OpenWindow = Callable[[], Window]
_MOMENT_S = 0.15
LAPTOP = (1366, 768)


def find_faults(window: Window, *checks: Callable[[Window], list[str]], in_tabs: bool = True) -> dict[str, list[str]]:
    """Return faults by page and tab; without `in_tabs`, only the open tab of each page is checked."""
    faults = {}
    for key in TITLES:
        window.show_page(key)
        wait_until_idle(moment_s=_MOMENT_S)
        for part in iter_tabs(window) if in_tabs else [""]:
            if page_faults := [fault for check in checks for fault in check(window)]:
                faults[f"{key}{part}"] = page_faults
    return faults


def iter_tabs(window: Window) -> Iterator[str]:
    """Show each tab of the current page and yield its title; yield an empty string once if the page has no tabs."""
    tabs = next(
        (candidate for candidate in window.pages.current.findChildren(QTabWidget) if candidate.isVisible()), None
    )
    if tabs is None:
        yield ""
        return
    for index in range(tabs.count()):
        if tabs.isTabVisible(index) and tabs.isTabEnabled(index):
            tabs.setCurrentIndex(index)
            wait_until_idle(moment_s=_MOMENT_S)
            yield f": {tabs.tabText(index)}"


def test_controls_with_a_run_are_named_reachable_and_unclipped_at_twice_the_text_size(
    open_window: OpenWindow, library_runs: tuple[Path, ...], qapp: QApplication
) -> None:
    """Checks the open tab of every page with a run; the following tests check every tab, and pages without a run."""
    window = open_window()
    window.theme_controller.scale_text(2)
    window.resize(1600, 1000)
    with windows_shown(qapp) as kinds:
        fill(window, library_runs)
    assert kinds == []
    assert (
        find_faults(
            window,
            clipped_texts,
            unnamed_widgets,
            unreachable_widgets,
            controls_skipped_by_tab,
            shared_mnemonics,
            in_tabs=False,
        )
        == {}
    )


@pytest.mark.soak
@pytest.mark.usefixtures("measured_runs")
def test_controls_of_all_tabs_are_named_and_reachable_without_and_with_runs(
    open_window: OpenWindow, qapp: QApplication, request: pytest.FixtureRequest
) -> None:
    with windows_shown(qapp) as kinds:
        window = open_window()
    assert kinds == ["Window"]
    assert find_faults(window, unnamed_widgets, unreachable_widgets, controls_skipped_by_tab, shared_mnemonics) == {}
    with windows_shown(qapp) as kinds:
        fill(window, request.getfixturevalue("library_runs"))
    assert kinds == []
    assert find_faults(window, unnamed_widgets, unreachable_widgets, controls_skipped_by_tab, shared_mnemonics) == {}


@pytest.mark.soak
def test_pages_fit_a_laptop_screen_at_twice_the_text_size(
    open_window: OpenWindow, library_runs: tuple[Path, ...]
) -> None:
    """A page that is higher than the screen scrolls; no text is clipped and no page is wider."""
    window = open_window()
    window.theme_controller.scale_text(2)
    window.resize(*LAPTOP)
    assert find_faults(window, clipped_texts, sideways_scrolling_areas) == {}
    fill(window, library_runs)
    assert find_faults(window, clipped_texts, sideways_scrolling_areas) == {}
    assert (window.width(), window.height()) == LAPTOP


@pytest.mark.soak
def test_longer_texts_are_not_clipped(
    open_window: OpenWindow, library_runs: tuple[Path, ...], qapp: QApplication
) -> None:
    with longer_texts(qapp):
        window = open_window()
        fill(window, library_runs)
        assert find_faults(window, clipped_texts) == {}
