"""Prove the instrument in a minute: stall, ceiling, clock, percentiles, injection, store."""

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
        found = prove_instrument(interruption, lambda what: print(f"looking at: {what}", file=sys.stderr))
    if found is None:
        return interruption.code or ExitCode.INTERRUPTED
    return tell(found, as_json=arguments.json)


def tell(found: SelfTest, *, as_json: bool) -> int:
    """Prints it, and gives the exit code."""
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
        ("PASS" if one.passed else "FAIL", one.check, one.what, shown(one.seen), _limit(one), one.unit or "")
        for one in found.findings
    ]
    yield table(("verdict", "check", "what", "seen", "limit", "unit"), rows)
    yield ""
    outcome = "passed" if found.passed else f"FAILED: {', '.join(found.mark().failed)}"
    yield f"self-test {found.id}, {found.at}, {outcome} ({found.duration_s:.0f} s); reports of this machine will say so"
    if any(one.tries > 1 for one in found.findings):
        yield "note: a check that failed was tried once more, and its second findings stand here"
    if not found.passed:
        yield "hint: stop other work on this machine and prove it again; what still fails, no result should rest on"


def _limit(one: Finding) -> str:
    from app.cli.tables import shown

    if one.low is None:
        return "0" if not one.high else f"≤ {shown(one.high)}"
    if one.high is None:
        return f"≥ {shown(one.low)}"
    return shown(one.low) if one.low == one.high else f"{shown(one.low)} – {shown(one.high)}"
