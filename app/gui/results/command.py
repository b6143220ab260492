"""The line that shows the same in a terminal."""

from __future__ import annotations

import shlex
from pathlib import Path

from app.gui.formatting import plain
from app.gui.results.exporting import Choice
from app.gui.results.state import Asked
from app.storage.run_directory import name_of_run


def report_command(
    directory: Path, asked: Asked, is_recovered: bool = False, choice: Choice | None = None, out: Path | None = None
) -> str:
    """`choice` and `out` where a file of it is being written."""
    words = ["sizewise", "report", name_of_run(directory)]
    for text in asked.slo or ():
        words += ["--slo", text]
    if asked.window_s is not None:
        from_s, to_s = (f"{plain(at).replace(',', '')}s" for at in asked.window_s)
        words += ["--from", from_s, "--to", to_s]
    if is_recovered:
        words.append("--recover")
    if choice is not None:
        words += [] if choice.form == "html" else ["--format", choice.form]
        words += ["--hide", ",".join(choice.hidden)] if choice.hidden else []
        words += ["--alone"] if choice.is_alone else []
    if out is not None:
        words += ["--out", str(out)]
    return shlex.join(words)
