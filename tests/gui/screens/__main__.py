"""Render every page of the window in both themes, empty and with stored runs, as PNG.

python -m tests.gui.screens FOLDER --run RUN [--run RUN …] [--size 1280x800] [--text 100]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gui.screens", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--run", dest="runs", action="append", type=Path, default=[], help="a stored run's directory")
    parser.add_argument("--size", default="1280x800", help="of the window, in pixels")
    parser.add_argument("--text", type=int, default=100, help="percent of the usual size")
    parser.add_argument("--themes", default="light,dark")
    given = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ["SIZEWISE_HOME"] = home
        _render(given, Path(home))
    return 0


def _render(given: argparse.Namespace, home: Path) -> None:
    from PySide6.QtWidgets import QApplication

    from tests.gui.screens.rendering import render_pages

    application = QApplication([sys.argv[0]])
    width, height = (int(side) for side in given.size.split("x"))
    themes = tuple(given.themes.split(","))
    render_pages(application, given.folder, "empty", (), themes, (width, height), given.text / 100)
    if not given.runs:
        return
    kept = []
    for run in given.runs:
        kept.append(home / "runs" / run.resolve().name)
        shutil.copytree(run, kept[-1])
    render_pages(application, given.folder, "full", tuple(kept), themes, (width, height), given.text / 100)


if __name__ == "__main__":
    sys.exit(main())
