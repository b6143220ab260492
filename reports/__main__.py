"""Render a stored report.json in another format, as in `python -m reports report.json -o x.html`.
The extension of the output file selects the format: .html, .json, .md, .txt, .xml, .prom or
.pdf."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reports.formats import FORMATS_BY_SUFFIX
from reports.model import PlanReport, Report, read_report
from reports.rendering import render, render_document
from reports.shortening import shorten_message


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m reports", description="Render a report.json.")
    parser.add_argument("report", type=Path, help="report.json of a run or plan")
    suffixes_text = ", ".join(FORMATS_BY_SUFFIX)
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        help=f"output file; its extension selects the format ({suffixes_text}); default: print text",
    )
    options = parser.parse_args(arguments)
    try:
        report = read_report(options.report.read_bytes())
        _write_report(report, options.out)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "reports":
            raise
        install = 'pip install "sizewise[report]"'
        sys.stderr.write(f"error: the package {error.name} is not installed. Install it with `{install}`.\n")
        return 3
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {shorten_message(str(error))}\n")
        return 2
    return 0


def _write_report(report: Report | PlanReport, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(render(report, "text") + "\n")
        return
    report_format = FORMATS_BY_SUFFIX.get(out.suffix.lower())
    if report_format is None:
        raise ValueError(f"the extension of {out.name} is not supported. Use one of {', '.join(FORMATS_BY_SUFFIX)}.")
    out.write_bytes(render_document(report, report_format.id, _warn))


def _warn(message: str) -> None:
    sys.stderr.write(f"warning: {shorten_message(message)}\n")


if __name__ == "__main__":
    sys.exit(main())
