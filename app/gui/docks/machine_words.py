"""How readings of this machine are written, wherever they are shown."""

from __future__ import annotations

from app.gui.formatting import NOT_AVAILABLE
from app.gui.words import tr
from app.records.machine import GpuNow

_LONGEST = 120


def gpu_title(gpu: GpuNow) -> str:
    """GPU 0, or AMD GPU 0."""
    number = "".join(character for character in gpu.source if character.isdigit())
    title = tr("AMD GPU {number}") if "amd" in gpu.source else tr("GPU {number}")
    return title.format(number=number)


def whole(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else f"{value:.0f}"


def short(text: str) -> str:
    """One line of bounded length: what drivers and files say is not ours."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
