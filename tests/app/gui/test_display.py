from __future__ import annotations

import sys

import pytest
from PySide6.QtCore import QObject

from app.errors import ExitCode, UnavailableError
from app.gui.display import check_qt_version, require_display


def test_qt_that_corrupts_reference_counts_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnavailableError, match=r"PySide6 6\.12\.0 aborts on Python 3\.11") as caught:
        check_qt_version((6, 12, 0), (3, 11))
    assert caught.value.hint is not None
    assert "<6.12" in caught.value.hint


@pytest.mark.parametrize(("qt", "python"), [((6, 11, 3), (3, 11)), ((6, 12, 0), (3, 12)), ((6, 13, 0), (3, 11))])
def test_others_are_not(qt: tuple[int, ...], python: tuple[int, ...]) -> None:
    check_qt_version(qt, python)


def test_the_qt_that_is_installed_keeps_its_count_of_none() -> None:
    before = sys.getrefcount(None)
    for _ in range(500):
        QObject().setObjectName("x")
    assert sys.getrefcount(None) > before - 50


def test_without_a_display_it_says_so_instead_of_aborting() -> None:
    with pytest.raises(UnavailableError, match="no display") as caught:
        require_display({}, "linux")
    assert caught.value.exit_code == ExitCode.UNAVAILABLE


@pytest.mark.parametrize("environment", [{"DISPLAY": ":0"}, {"WAYLAND_DISPLAY": "w"}, {"QT_QPA_PLATFORM": "offscreen"}])
def test_any_screen_will_do(environment: dict[str, str]) -> None:
    require_display(environment, "linux", lambda _: True)


def test_a_display_that_does_not_answer_is_reported_of() -> None:
    with pytest.raises(UnavailableError, match=r"cannot connect to the display :12345") as caught:
        require_display({"DISPLAY": ":12345"}, "linux")
    assert caught.value.hint is not None
    assert "SSH" in caught.value.hint


def test_wayland_is_not_asked_for_its_x() -> None:
    require_display({"DISPLAY": ":12345", "WAYLAND_DISPLAY": "wayland-0"}, "linux")


def test_other_systems_have_their_own() -> None:
    require_display({}, "darwin")
