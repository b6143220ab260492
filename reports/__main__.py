"""Render a stored report.json again: `python -m reports report.json -o x.html`, or .md, .txt, .xml, .prom, .pdf."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reports.model import PlanReport, Report, read_report
from reports.rendering import SUFFIXES, render


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m reports", description="Render a report.json again.")
    parser.add_argument("report", type=Path, help="report.json of a run, or of a plan")
    endings = ", ".join([*SUFFIXES, ".pdf"])
    parser.add_argument(
        "-o", "--out", type=Path, help=f"file to write, by its ending ({endings}); else text is printed"
    )
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
        sys.stdout.write(render(report, "text") + "\n")
        return
    if out.suffix.lower() == ".pdf":
        from reports.pdf import render_pdf

        out.write_bytes(render_pdf(report))
        return
    form = SUFFIXES.get(out.suffix.lower())
    if form is None:
        raise ValueError(f"{out.name} ends with none of {', '.join(SUFFIXES)}, .pdf")
    out.write_text(render(report, form, _warn), "utf-8", newline="\n")


def _warn(sentence: str) -> None:
    sys.stderr.write(f"warning: {sentence}\n")


if __name__ == "__main__":
    sys.exit(main())
