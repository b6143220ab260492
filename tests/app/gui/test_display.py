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
    require_display(environment, "linux")


def test_other_systems_have_their_own() -> None:
    require_display({}, "darwin")
