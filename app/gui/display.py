"""Check before Qt starts: without a display, Qt itself would abort the process without a useful
message.

PySide6 6.12 is rejected on Python versions before 3.12, where it corrupts the reference counts of
None and True and later aborts the process.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping

from app.errors import UnavailableError
from app.extras import require_extra


def check_qt_version(
    qt_version: tuple[int | str, ...], python_version: tuple[int, ...] = tuple(sys.version_info[:2])
) -> None:
    """Raise UnavailableError if PySide6 `qt_version` is known to abort the process on this Python
    version."""
    if tuple(python_version) < (3, 12) and tuple(qt_version[:2]) == (6, 12):
        raise UnavailableError(
            f"PySide6 {'.'.join(map(str, qt_version[:3]))} aborts on Python {python_version[0]}.{python_version[1]}",
            hint='Install an older version with `pip install "pyside6-essentials<6.12"`, or use Python 3.12 or newer.',
        )


_DEBIAN_PACKAGES = "libegl1 libgl1 libopengl0 libxkbcommon0 libfontconfig1 libdbus-1-3 libxcb-cursor0 libxcb-icccm4"
_HEADLESS_HINT = "`sizewise run`, `plan`, `report` and `compare` work without a window."


def can_connect_to_x(display: str) -> bool:
    """Return whether the X server of `display` accepts a connection.

    Return True if libxcb is missing, because Qt then reports the problem itself.
    """
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return True
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(display.encode(), None))
    is_connected = not xcb.xcb_connection_has_error(connection)
    xcb.xcb_disconnect(connection)
    return is_connected


def require_display(
    environ: Mapping[str, str], platform: str = sys.platform, can_connect: Callable[[str], bool] = can_connect_to_x
) -> None:
    """Raise UnavailableError if no display can be reached. Only Linux is checked."""
    if not platform.startswith("linux"):
        return
    platform_plugin, display = environ.get("QT_QPA_PLATFORM", ""), environ.get("DISPLAY", "")
    if not (platform_plugin or display or environ.get("WAYLAND_DISPLAY")):
        raise UnavailableError("no display is available for the window", hint=f"Log in to a desktop. {_HEADLESS_HINT}")
    uses_x11 = platform_plugin.startswith("xcb") or not (platform_plugin or environ.get("WAYLAND_DISPLAY"))
    if uses_x11 and not can_connect(display):
        hint = f"Log in to the desktop as this user, or use SSH with -X. {_HEADLESS_HINT}"
        raise UnavailableError(f"the window cannot connect to the display {display or 'of this system'}", hint=hint)


def require_qt() -> None:
    """Raise UnavailableError if the Qt libraries cannot be loaded, or if their version is known to
    abort the process."""
    require_extra("gui")
    try:
        import PySide6
        import PySide6.QtWidgets
    except ImportError as error:
        hint = f"On Debian, run `apt-get install {_DEBIAN_PACKAGES}`. {_HEADLESS_HINT}"
        raise UnavailableError(f"Qt cannot be loaded: {error}", hint=hint) from error
    check_qt_version(PySide6.__version_info__)
