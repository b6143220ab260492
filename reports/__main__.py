"""Render a stored report.json again: `python -m reports report.json -o report.html`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reports.model import PlanReport, Report, read_report


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m reports", description="Render a report.json again.")
    parser.add_argument("report", type=Path, help="report.json of a run, or of a plan")
    parser.add_argument("-o", "--out", type=Path, help="HTML file to write; without it the summary is printed as text")
    chosen = parser.parse_args(arguments)
    try:
        report = read_report(chosen.report.read_bytes())
        _deliver(report, chosen.out)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _deliver(report: Report | PlanReport, out: Path | None) -> None:
    if out is None:
        from reports.text import render_plan, render_text

        text = render_plan(report.plan) if isinstance(report, PlanReport) else render_text(report)
        sys.stdout.write(text + "\n")
    else:
        from reports.html import render_html, render_plan_html

        page = render_plan_html(report) if isinstance(report, PlanReport) else render_html(report)
        out.write_text(page, "utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())
