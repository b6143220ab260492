from __future__ import annotations

import csv
import io
import json

import pytest
from msgspec.structs import replace

from app.cli.selftest import print_selftest
from app.errors import ExitCode
from app.records.selftest import Finding, SelfTest, build_finding, build_selftest

FINDINGS = (
    build_finding("generator capacity", "max rate to a no-op server", 8016.0, low=1000.0, unit="req/s"),
    build_finding("stall", "latency p95", 901.2, low=855.0, high=945.0, unit="ms"),
    build_finding("store", "rows read back", 3600.0, low=3600, high=3600, unit=None),
    build_finding("clock", "backward steps", 0.0, high=0, unit=None),
    build_finding("clock", "resolution", 30.0, high=10_000, unit="ns"),
)


def of(*findings: Finding) -> SelfTest:
    return build_selftest(findings, at="2026-01-02T12:00:00+00:00", tool="1", fingerprint="f", duration_s=27.3)


def test_what_was_seen_stands_beside_its_limit(capsys: pytest.CaptureFixture[str]) -> None:
    found = of(*FINDINGS)
    assert print_selftest(found) == ExitCode.OK
    header, _, *rows, last = [line for line in capsys.readouterr().out.splitlines() if line]
    assert header.split() == ["verdict", "check", "description", "measured", "limit", "unit"]
    assert [" ".join(row.split()) for row in rows] == [
        "PASS generator capacity max rate to a no-op server 8,016 ≥ 1,000 req/s",
        "PASS stall latency p95 901 855 – 945 ms",
        "PASS store rows read back 3,600 3,600",
        "PASS clock backward steps 0 0",
        "PASS clock resolution 30 ≤ 10,000 ns",
    ]
    assert last.startswith(f"self-test {found.id} (2026-01-02T12:00:00+00:00, 27 s) passed.")


def test_one_that_fails_is_the_exit_code_of_the_instrument(capsys: pytest.CaptureFixture[str]) -> None:
    unseen = build_finding("injection", "p50", None, low=9.0, high=11.0, unit="ms")
    late = replace(build_finding("stall", "latency p95", 51.0, low=855.0, high=945.0, unit="ms"), attempts=2)
    assert print_selftest(of(*FINDINGS, late, unseen)) == int(ExitCode.INVALID) == 4
    out = capsys.readouterr().out
    assert "FAIL     stall" in out
    assert "FAIL     injection" in out
    assert "n/a" in out
    assert "FAILED: stall, injection" in out
    assert "repeated once" in out
    assert "Stop other work" in out


def test_as_json_it_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    found = of(*FINDINGS)
    assert print_selftest(found, "json") == ExitCode.OK
    reported = json.loads(capsys.readouterr().out)
    assert (reported["id"], reported["passed"], len(reported["findings"])) == (found.id, True, 5)
    assert reported["findings"][1]["observed"] == 901.2


def test_as_csv_each_finding_has_its_numbers_and_nothing_else_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_selftest(of(*FINDINGS), "csv") == ExitCode.OK
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == len(FINDINGS)
    assert (rows[1]["observed"], rows[1]["low"], rows[1]["high"], rows[1]["verdict"]) == (
        "901.2",
        "855.0",
        "945.0",
        "PASS",
    )
    assert (rows[3]["low"], rows[3]["unit"]) == ("", "")
