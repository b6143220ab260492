from __future__ import annotations

import sys

import pytest
from PySide6.QtCore import QObject

from app.errors import ExitCode, UnavailableError
from app.gui.display import check_qt_version, require_display


def test_broken_qt_version_is_rejected_with_a_hint() -> None:
    with pytest.raises(UnavailableError, match=r"PySide6 6\.12\.0 aborts on Python 3\.11") as error_info:
        check_qt_version((6, 12, 0), (3, 11))
    assert error_info.value.hint is not None
    assert "<6.12" in error_info.value.hint


@pytest.mark.parametrize(("qt", "python"), [((6, 11, 3), (3, 11)), ((6, 12, 0), (3, 12)), ((6, 13, 0), (3, 11))])
def test_other_qt_and_python_versions_are_accepted(qt: tuple[int, ...], python: tuple[int, ...]) -> None:
    check_qt_version(qt, python)


def test_installed_qt_does_not_decrease_the_reference_count_of_none() -> None:
    initial_count = sys.getrefcount(None)
    for _ in range(500):
        QObject().setObjectName("x")
    assert sys.getrefcount(None) > initial_count - 50


def test_missing_display_raises_unavailable_error() -> None:
    with pytest.raises(UnavailableError, match="no display") as error_info:
        require_display({}, "linux")
    assert error_info.value.exit_code == ExitCode.UNAVAILABLE


@pytest.mark.parametrize("environment", [{"DISPLAY": ":0"}, {"WAYLAND_DISPLAY": "w"}, {"QT_QPA_PLATFORM": "offscreen"}])
def test_every_display_environment_variable_is_accepted(environment: dict[str, str]) -> None:
    require_display(environment, "linux", lambda _: True)


def test_unreachable_display_is_reported_with_a_hint() -> None:
    with pytest.raises(UnavailableError, match=r"cannot connect to the display :12345") as error_info:
        require_display({"DISPLAY": ":12345"}, "linux")
    assert error_info.value.hint is not None
    assert "SSH" in error_info.value.hint


def test_x11_connection_is_not_tested_under_wayland() -> None:
    require_display({"DISPLAY": ":12345", "WAYLAND_DISPLAY": "wayland-0"}, "linux")


def test_display_is_not_required_on_macos() -> None:
    require_display({}, "darwin")
