"""What was compared when pairs were asked for, kept beside them: another window can put them together again."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from app.gui.compare.entries import Asked, Entry, Side
from app.storage.run_directory import EVENTS
from loadgen.decoding import decode_json

BESIDE, SHOWN = "beside.json", "shown"


class _Beside(msgspec.Struct, frozen=True):
    entries: tuple[tuple[str, Side], ...]
    tolerance: float
    is_forced: bool


def keep_beside(directory: Path, asked: Asked) -> None:
    """Raises OSError."""
    kept = _Beside(tuple((str(one.path), one.side) for one in asked.entries), asked.tolerance, asked.is_forced)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / BESIDE).write_bytes(msgspec.json.encode(kept))


def kept_beside(directory: Path) -> Asked | None:
    """None where nothing was, as of pairs that were started in a terminal."""
    try:
        kept = decode_json((directory / BESIDE).read_bytes(), _Beside)
    except (OSError, msgspec.DecodeError):
        return None
    return Asked(tuple(Entry(Path(path), side) for path, side in kept.entries), kept.tolerance, kept.is_forced)


def mark_shown(directory: Path) -> None:
    """A window has shown how they ended. One that cannot be marked is shown again."""
    with contextlib.suppress(OSError):
        (directory / SHOWN).touch()


def pairs_to_show() -> tuple[Path, bool] | None:
    """Pairs that go on (True), or else the last ones of a window if they ended while none was open."""
    from app.storage.comparisons import comparisons_home, going_comparisons

    going, home = going_comparisons(), comparisons_home()
    if going:
        return going[0], True
    asked = sorted(home.glob(f"*/{BESIDE}")) if home.is_dir() else []
    last = asked[-1].parent if asked else None
    if last is None or (last / SHOWN).exists() or not (last / EVENTS).exists():
        return None
    return last, False


def forget_beside(directory: Path) -> None:
    """Of pairs that never began: nothing is left of them. Raises OSError where something else is."""
    (directory / BESIDE).unlink(missing_ok=True)
    directory.rmdir()
