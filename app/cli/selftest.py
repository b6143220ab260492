"""Verify the load generator in a minute: stalls, capacity, clock, percentiles, injected delays and storage."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.records.selftest import Finding, SelfTest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def execute(arguments: argparse.Namespace) -> int:
    from app.cli.signals import stoppable
    from app.errors import ExitCode
    from app.wiring.selftest import prove_instrument

    with stoppable() as interruption:
        selftest = prove_instrument(interruption, lambda what: print(f"looking at: {what}", file=sys.stderr))
    if selftest is None:
        return interruption.code or ExitCode.INTERRUPTED
    return tell(selftest, as_json=arguments.json)


def tell(found: SelfTest, *, as_json: bool) -> int:
    """Print the self-test and return the exit code."""
    import msgspec

    from app.errors import ExitCode

    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        print("\n".join(lines(found)))
    return ExitCode.OK if found.passed else ExitCode.INVALID


def lines(found: SelfTest) -> Iterator[str]:
    from app.cli.tables import shown, table

    rows = [
        (
            "PASS" if finding.passed else "FAIL",
            finding.check,
            finding.what,
            shown(finding.seen),
            _limit(finding),
            finding.unit or "",
        )
        for finding in found.findings
    ]
    yield table(("verdict", "check", "what", "seen", "limit", "unit"), rows)
    yield ""
    outcome = "passed" if found.passed else f"FAILED: {', '.join(found.mark().failed)}"
    yield f"self-test {found.id}, {found.at}, {outcome} ({found.duration_s:.0f} s); reports of this machine will say so"
    if any(finding.tries > 1 for finding in found.findings):
        yield "note: a check that failed was tried once more, and its second findings stand here"
    if not found.passed:
        yield "hint: stop other work on this machine and prove it again; what still fails, no result should rest on"


def _limit(finding: Finding) -> str:
    from app.cli.tables import shown

    if finding.low is None:
        return "0" if not finding.high else f"≤ {shown(finding.high)}"
    if finding.high is None:
        return f"≥ {shown(finding.low)}"
    return shown(finding.low) if finding.low == finding.high else f"{shown(finding.low)} – {shown(finding.high)}"
