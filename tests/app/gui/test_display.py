from __future__ import annotations

import pytest

from app.errors import ExitCode, UnavailableError
from app.gui.display import require_display


def test_without_a_display_it_says_so_instead_of_aborting() -> None:
    with pytest.raises(UnavailableError, match="no display") as caught:
        require_display({}, "linux")
    assert caught.value.exit_code == ExitCode.UNAVAILABLE


@pytest.mark.parametrize("environment", [{"DISPLAY": ":0"}, {"WAYLAND_DISPLAY": "w"}, {"QT_QPA_PLATFORM": "offscreen"}])
def test_any_screen_will_do(environment: dict[str, str]) -> None:
    require_display(environment, "linux", lambda _: True)


def test_a_display_that_does_not_answer_is_told_of() -> None:
    with pytest.raises(UnavailableError, match=r"the display :12345 cannot be reached") as caught:
        require_display({"DISPLAY": ":12345"}, "linux")
    assert caught.value.hint is not None
    assert "SSH" in caught.value.hint


def test_wayland_is_not_asked_for_its_x() -> None:
    require_display({"DISPLAY": ":12345", "WAYLAND_DISPLAY": "wayland-0"}, "linux")


def test_other_systems_have_their_own() -> None:
    require_display({}, "darwin")
