"""Files that the user keeps in the library, wherever they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from app.gui.settings import open_settings

Kind = Literal["models", "profiles"]
_MOST = 200


def remembered(kind: Kind) -> tuple[Path, ...]:
    """The newest first; some may be gone."""
    value = open_settings().value(f"library/{kind}", [])
    names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(Path(str(name)) for name in names[:_MOST] if name)


def remember(kind: Kind, path: Path) -> None:
    kept = [path.absolute(), *(one for one in remembered(kind) if one != path.absolute())]
    _write(kind, kept[:_MOST])


def remember_opened(kind: Kind, path: Path) -> None:
    """What was opened from anywhere; what the library shows anyway, as bundled or as a run's, is left out."""
    from app.profiles.bundled import DIRECTORY

    is_of_a_run = (path.parent / "events.jsonl").exists()
    if not is_of_a_run and not path.absolute().is_relative_to(DIRECTORY):
        remember(kind, path)


def forget(kind: Kind, path: Path) -> None:
    _write(kind, [one for one in remembered(kind) if one != path])


def relocate(kind: Kind, path: Path, there: Path) -> None:
    """In the same place of the list."""
    _write(kind, [there.absolute() if one == path else one for one in remembered(kind)])


def _write(kind: Kind, paths: list[Path]) -> None:
    settings = open_settings()
    settings.setValue(f"library/{kind}", [str(path) for path in paths])
    settings.sync()
