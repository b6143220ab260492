"""Golden files: what a renderer gave when somebody last looked at it."""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "golden"
_REFRESH = "REFRESH_GOLDEN"
"""Set it to 1 to write the golden files anew; look at the difference before keeping it."""


def assert_golden(name: str, text: str) -> None:
    golden = _FOLDER / name
    if os.environ.get(_REFRESH) == "1":
        golden.write_text(text, "utf-8", newline="\n")
    assert text == golden.read_text("utf-8")
