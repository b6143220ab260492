"""Render a stored report.json again: `python -m reports report.json -o report.html`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reports.model import Report, read_report


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m reports", description="Render a report.json again.")
    parser.add_argument("report", type=Path, help="report.json of a run")
    parser.add_argument("-o", "--out", type=Path, help="HTML file to write; without it the summary is printed as text")
    chosen = parser.parse_args(arguments)
    try:
        report = read_report(chosen.report.read_bytes())
        _deliver(report, chosen.out)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _deliver(report: Report, out: Path | None) -> None:
    if out is None:
        from reports.text import render_text

        sys.stdout.write(render_text(report) + "\n")
    else:
        from reports.html import render_html

        out.write_text(render_html(report), "utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())
