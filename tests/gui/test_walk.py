"""Every page, empty and with a run: named for a reader of screens, reached by keys, and clipped nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication, QTabWidget

from app.gui.page import TITLES
from app.gui.window import Window
from tests.fakes.long_texts import longer_texts
from tests.fakes.widget_walk import (
    clipped,
    passed_over,
    shared_mnemonics,
    unnamed,
    unreachable,
    wider_than_the_window,
    windows_shown,
)
from tests.gui.screens.rendering import fill, settle

OpenWindow = Callable[[], Window]
_MOMENT_S = 0.15
LAPTOP = (1366, 768)


def faults(window: Window, *looks: Callable[[Window], list[str]], in_tabs: bool = True) -> dict[str, list[str]]:
    """By page and by tab of it; with only the tab that is open unless `in_tabs`."""
    found = {}
    for key in TITLES:
        window.show_page(key)
        settle(moment_s=_MOMENT_S)
        for part in tabs_of(window) if in_tabs else [""]:
            if wrong := [one for look_for in looks for one in look_for(window)]:
                found[f"{key}{part}"] = wrong
    return found


def tabs_of(window: Window) -> Iterator[str]:
    """One after the other, where the page has any."""
    tabs = next((one for one in window.pages.current.findChildren(QTabWidget) if one.isVisible()), None)
    if tabs is None:
        yield ""
        return
    for place in range(tabs.count()):
        if tabs.isTabVisible(place) and tabs.isTabEnabled(place):
            tabs.setCurrentIndex(place)
            settle(moment_s=_MOMENT_S)
            yield f": {tabs.tabText(place)}"


def test_every_control_has_a_name_is_reached_by_keys_and_has_room_for_twice_the_size_of_text(
    open_window: OpenWindow, kept_runs: tuple[Path, ...], qapp: QApplication
) -> None:
    """On every page with a run, and without its other tabs; every tab, and every page without a run, in the tests that
    follow."""
    window = open_window()
    window.theme_controller.scale_text(2)
    window.resize(1600, 1000)
    with windows_shown(qapp) as kinds:
        fill(window, kept_runs)
    assert kinds == []
    assert faults(window, clipped, unnamed, unreachable, passed_over, shared_mnemonics, in_tabs=False) == {}


@pytest.mark.soak
@pytest.mark.usefixtures("measured_runs")
def test_every_control_has_a_name_and_is_reached_by_keys_without_a_run_and_with_one(
    open_window: OpenWindow, qapp: QApplication, request: pytest.FixtureRequest
) -> None:
    with windows_shown(qapp) as kinds:
        window = open_window()
    assert kinds == ["Window"]
    assert faults(window, unnamed, unreachable, passed_over, shared_mnemonics) == {}
    with windows_shown(qapp) as kinds:
        fill(window, request.getfixturevalue("kept_runs"))
    assert kinds == []
    assert faults(window, unnamed, unreachable, passed_over, shared_mnemonics) == {}


@pytest.mark.soak
def test_every_page_fits_a_laptop_at_twice_the_size_of_text(
    open_window: OpenWindow, kept_runs: tuple[Path, ...]
) -> None:
    """A page that is higher than the screen scrolls, but nothing is clipped or wider."""
    window = open_window()
    window.theme_controller.scale_text(2)
    window.resize(*LAPTOP)
    assert faults(window, clipped, wider_than_the_window) == {}
    fill(window, kept_runs)
    assert faults(window, clipped, wider_than_the_window) == {}
    assert (window.width(), window.height()) == LAPTOP


@pytest.mark.soak
def test_nothing_is_clipped_in_a_language_that_takes_more_room(
    open_window: OpenWindow, kept_runs: tuple[Path, ...], qapp: QApplication
) -> None:
    with longer_texts(qapp):
        window = open_window()
        fill(window, kept_runs)
        assert faults(window, clipped) == {}
