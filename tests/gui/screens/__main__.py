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
    parser.add_argument("folder", type=Path, help="folder of the images")
    parser.add_argument("--run", dest="runs", action="append", type=Path, default=[], help="a stored run's directory")
    parser.add_argument("--size", default="1280x800", help="size of the window in pixels")
    parser.add_argument("--text", type=int, default=100, help="percent of the default text size")
    parser.add_argument("--themes", default="light,dark")
    arguments = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ["SIZEWISE_HOME"] = home
        _render(arguments, Path(home))
    return 0


def _render(arguments: argparse.Namespace, home: Path) -> None:
    from PySide6.QtWidgets import QApplication

    from tests.gui.screens.rendering import render_pages

    application = QApplication([sys.argv[0]])
    width, height = (int(side) for side in arguments.size.split("x"))
    themes = tuple(arguments.themes.split(","))
    render_pages(application, arguments.folder, "empty", (), themes, (width, height), arguments.text / 100)
    if not arguments.runs:
        return
    copied_runs = []
    for run in arguments.runs:
        copied_runs.append(home / "runs" / run.resolve().name)
        shutil.copytree(run, copied_runs[-1])
    render_pages(
        application, arguments.folder, "full", tuple(copied_runs), themes, (width, height), arguments.text / 100
    )


if __name__ == "__main__":
    sys.exit(main())
