"""Whether the instrument was held against what is known, and what came of it."""

from __future__ import annotations

import hashlib

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One number of a check, and the bounds it must be within; a bound of None is none. `seen` is None where there was
    nothing to see, which is no pass."""

    check: str
    what: str
    seen: float | None
    low: float | None
    high: float | None
    unit: str | None
    passed: bool
    tries: int = 1


def finding(
    check: str, what: str, seen: float | None, *, low: float | None = None, high: float | None = None, unit: str | None
) -> Finding:
    is_inside = seen is not None and (low is None or seen >= low) and (high is None or seen <= high)
    return Finding(check, what, seen, low, high, unit, is_inside)


class SelfTestMark(msgspec.Struct, frozen=True):
    """What a result says of the last self-test of its machine; `failed` are the checks that did not pass."""

    id: str
    at: str
    passed: bool
    failed: tuple[str, ...] = ()


class SelfTest(msgspec.Struct, frozen=True):
    """`at` is wall time with zone, ISO 8601; `tool` the version; `fingerprint` the machine's, as an environment has
    it."""

    id: str
    at: str
    tool: str
    fingerprint: str
    passed: bool
    duration_s: float
    findings: tuple[Finding, ...]

    def mark(self) -> SelfTestMark:
        failed = dict.fromkeys(one.check for one in self.findings if not one.passed)
        return SelfTestMark(self.id, self.at, self.passed, tuple(failed))


def selftest(findings: tuple[Finding, ...], *, at: str, tool: str, fingerprint: str, duration_s: float) -> SelfTest:
    """Its id is a hash of tool, machine, time and outcome, each finding with what was seen."""
    passed = bool(findings) and all(one.passed for one in findings)
    identity = msgspec.json.encode((tool, fingerprint, at, passed, findings))
    short = hashlib.sha256(identity).hexdigest()[:12]
    return SelfTest(short, at, tool, fingerprint, passed, duration_s, findings)
