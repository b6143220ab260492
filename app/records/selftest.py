"""Result of a self-test, which compares measurements of the load generator with known values."""

from __future__ import annotations

import hashlib

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One value of a self-test check and its allowed range; a bound of None means no limit. If
    `observed` is None, nothing was observed and the check fails."""

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
    is_within_range = observed is not None and (low is None or observed >= low) and (high is None or observed <= high)
    return Finding(check, description, observed, low, high, unit, is_within_range)


class SelfTestSummary(msgspec.Struct, frozen=True):
    """Summary of the last self-test of a machine, stored in the result of a run. `failed` lists the
    checks that failed."""

    id: str
    at: str
    passed: bool
    failed: tuple[str, ...] = ()


class SelfTest(msgspec.Struct, frozen=True):
    """A self-test of one machine. `at` is wall-clock time with time zone (ISO 8601); `tool` is the
    Sizewise version; `fingerprint` is the fingerprint of the machine's environment."""

    id: str
    at: str
    tool: str
    fingerprint: str
    passed: bool
    duration_s: float
    findings: tuple[Finding, ...]

    def summarize(self) -> SelfTestSummary:
        failed_checks = dict.fromkeys(finding.check for finding in self.findings if not finding.passed)
        return SelfTestSummary(self.id, self.at, self.passed, tuple(failed_checks))


def build_selftest(
    findings: tuple[Finding, ...], *, at: str, tool: str, fingerprint: str, duration_s: float
) -> SelfTest:
    """Build the record of a self-test. Its ID is a hash of version, fingerprint, time, outcome and
    all findings."""
    has_passed = bool(findings) and all(finding.passed for finding in findings)
    hashed_content = msgspec.json.encode((tool, fingerprint, at, has_passed, findings))
    short_id = hashlib.sha256(hashed_content).hexdigest()[:12]
    return SelfTest(short_id, at, tool, fingerprint, has_passed, duration_s, findings)
