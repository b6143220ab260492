"""PySide6 6.12 corrupts the reference counts of None and True on Python before 3.12, and the process aborts later."""

from __future__ import annotations

import sys

from app.errors import UnavailableError


def refuse_broken_qt(qt: tuple[int | str, ...], python: tuple[int, ...] = tuple(sys.version_info[:2])) -> None:
    """`qt` is the version of PySide6. Raises UnavailableError for the pair that aborts."""
    if tuple(python) < (3, 12) and tuple(qt[:2]) == (6, 12):
        raise UnavailableError(
            f"PySide6 {'.'.join(map(str, qt[:3]))} aborts on Python {python[0]}.{python[1]}",
            hint='Install an older one: pip install "pyside6-essentials<6.12"; or take Python 3.12 or newer.',
        )
