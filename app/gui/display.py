"""Whether a window can be shown here at all: Qt itself would end the process without a word to act on."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from app.errors import UnavailableError

_LIBRARIES = "libegl1 libgl1 libopengl0 libxkbcommon0 libfontconfig1 libdbus-1-3 libxcb-cursor0 libxcb-icccm4"
_HEADLESS = "`sizewise run`, `plan`, `report` and `compare` do the same without a window."


def require_display(environment: Mapping[str, str], platform: str = sys.platform) -> None:
    """Raises UnavailableError where no screen can be reached."""
    is_told = any(environment.get(name) for name in ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY"))
    if platform.startswith("linux") and not is_told:
        raise UnavailableError("there is no display to open a window on", hint=f"Log in to a desktop. {_HEADLESS}")


def require_qt() -> None:
    """Raises UnavailableError where Qt's own libraries cannot be loaded, or are those that abort."""
    try:
        import PySide6
        import PySide6.QtWidgets
    except ImportError as error:
        hint = f"On Debian: apt-get install {_LIBRARIES}. {_HEADLESS}"
        raise UnavailableError(f"Qt cannot be loaded: {error}", hint=hint) from error
    from app.gui.guard import refuse_broken_qt

    refuse_broken_qt(PySide6.__version_info__)
