"""Golden files: the reviewed output of a renderer."""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "golden"
_REFRESH = "REFRESH_GOLDEN"
"""Set this variable to 1 to rewrite the golden files; review the difference before you commit it."""


def assert_golden(name: str, text: str) -> None:
    golden = _FOLDER / name
    if os.environ.get(_REFRESH) == "1":
        golden.write_text(text, "utf-8", newline="\n")
    assert text == golden.read_text("utf-8")
