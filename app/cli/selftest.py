"""Verify the load generator of this machine in about a minute.

The checks cover stalls, capacity, clock, percentiles, injected delays and storage.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from app.cli.commands import Command
from app.cli.options import OutputFormat, OutputOptions, output_options, parse_output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.cli.tables import TableFormat
    from app.records.selftest import Finding, SelfTest


def _selftest(requested_output: OutputOptions) -> int:
    from app.cli.signals import handle_stop_signals
    from app.errors import ExitCode
    from app.wiring.selftest import run_machine_selftest

    output = parse_output(requested_output)
    with handle_stop_signals() as interruption:
        selftest = run_machine_selftest(interruption, lambda check: print(f"checking: {check}", file=sys.stderr))
    if selftest is None:
        return interruption.code or ExitCode.INTERRUPTED
    return print_selftest(selftest, output)


def print_selftest(selftest: SelfTest, output: OutputFormat = "table") -> int:
    """Print the self-test, and return the exit code: OK if the self-test passed, otherwise
    INVALID."""
    from app.cli.colors import print_with_colors
    from app.cli.tables import print_json
    from app.errors import ExitCode

    if output == "json":
        print_json(selftest)
    else:
        print_with_colors("\n".join(format_selftest(selftest, output)))
    return ExitCode.OK if selftest.passed else ExitCode.INVALID


def format_selftest(selftest: SelfTest, table_format: TableFormat) -> Iterator[str]:
    from app.cli.tables import format_cell, format_table
    from app.records.selftest import Finding
    from reports.marks import mark_status
    from reports.sections.section import Column

    columns = (
        Column[Finding]("verdict", "verdict", lambda finding: "PASS" if finding.passed else "FAIL", is_status=True),
        Column[Finding]("check", "check"),
        Column[Finding]("description", "description", lambda finding: finding.what),
        Column[Finding]("", "measured", lambda finding: format_cell(finding.observed)),
        Column[Finding]("observed"),
        Column[Finding]("", "limit", _format_limit),
        Column[Finding]("low"),
        Column[Finding]("high"),
        Column[Finding]("unit", "unit", lambda finding: finding.unit or ""),
        Column[Finding]("attempts"),
    )
    yield format_table(columns, selftest.findings, table_format)
    if table_format != "table":
        return
    yield ""
    failed_text = ", ".join(selftest.summarize().failed)
    outcome_text = "passed" if selftest.passed else f"{mark_status('FAILED')}: {failed_text}"
    yield (
        f"self-test {selftest.id} ({selftest.at}, {selftest.duration_s:.0f} s) {outcome_text}. Reports of runs on this "
        "machine show this result."
    )
    if any(finding.attempts > 1 for finding in selftest.findings):
        yield "note: failed checks were repeated once; the results shown are of the second attempt"
    if not selftest.passed:
        yield (
            "hint: Stop other work on this machine and repeat the self-test. Do not use results affected by a "
            "failing check."
        )


def _format_limit(finding: Finding) -> str:
    from app.cli.tables import format_cell

    if finding.low is None:
        return "0" if not finding.high else f"≤ {format_cell(finding.high)}"
    if finding.high is None:
        return f"≥ {format_cell(finding.low)}"
    return (
        format_cell(finding.low)
        if finding.low == finding.high
        else f"{format_cell(finding.low)} – {format_cell(finding.high)}"
    )


COMMAND = Command(
    "selftest",
    _selftest,
    output_options("print the findings as JSON"),
    documentation=__doc__,
    examples=("sizewise selftest",),
)
