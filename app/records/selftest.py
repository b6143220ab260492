"""Outcome of a self-test, which compares the load generator with known truths."""

from __future__ import annotations

import hashlib

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One number of a check, and the bounds it must be within; a bound of None does not limit. `seen` is None if
    nothing was observed, which fails the check."""

    check: str
    what: str
    observed: float | None
    low: float | None
    high: float | None
    unit: str | None
    passed: bool
    attempts: int = 1


def build_finding(
    check: str,
    description: str,
    observed: float | None,
    *,
    low: float | None = None,
    high: float | None = None,
    unit: str | None,
) -> Finding:
    is_inside = observed is not None and (low is None or observed >= low) and (high is None or observed <= high)
    return Finding(check, description, observed, low, high, unit, is_inside)


class SelfTestSummary(msgspec.Struct, frozen=True):
    """Summary of the last self-test of a machine, stored in a result; `failed` lists the checks that did not pass."""

    id: str
    at: str
    passed: bool
    failed: tuple[str, ...] = ()


class SelfTest(msgspec.Struct, frozen=True):
    """A self-test of one machine. `at` is wall time with zone, ISO 8601; `tool` is the version of Sizewise;
    `fingerprint` is that of the machine's environment."""

    id: str
    at: str
    tool: str
    fingerprint: str
    passed: bool
    duration_s: float
    findings: tuple[Finding, ...]

    def summarize(self) -> SelfTestSummary:
        failed = dict.fromkeys(finding.check for finding in self.findings if not finding.passed)
        return SelfTestSummary(self.id, self.at, self.passed, tuple(failed))


def build_selftest(
    findings: tuple[Finding, ...], *, at: str, tool: str, fingerprint: str, duration_s: float
) -> SelfTest:
    """Create a self-test record; its id is a hash of tool, machine, time and outcome, including the observed value of
    each finding."""
    passed = bool(findings) and all(finding.passed for finding in findings)
    identity = msgspec.json.encode((tool, fingerprint, at, passed, findings))
    short = hashlib.sha256(identity).hexdigest()[:12]
    return SelfTest(short, at, tool, fingerprint, passed, duration_s, findings)
