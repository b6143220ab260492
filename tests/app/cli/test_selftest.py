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


def build_selftest_of(*findings: Finding) -> SelfTest:
    return build_selftest(findings, at="2026-01-02T12:00:00+00:00", tool="1", fingerprint="f", duration_s=27.3)


def test_selftest_table_has_measured_values_and_limits(capsys: pytest.CaptureFixture[str]) -> None:
    selftest = build_selftest_of(*FINDINGS)
    assert print_selftest(selftest) == ExitCode.OK
    header, _, *rows, last = [line for line in capsys.readouterr().out.splitlines() if line]
    assert header.split() == ["verdict", "check", "description", "measured", "limit", "unit"]
    assert [" ".join(row.split()) for row in rows] == [
        "PASS generator capacity max rate to a no-op server 8,016 ≥ 1,000 req/s",
        "PASS stall latency p95 901 855 – 945 ms",
        "PASS store rows read back 3,600 3,600",
        "PASS clock backward steps 0 0",
        "PASS clock resolution 30 ≤ 10,000 ns",
    ]
    assert last.startswith(f"self-test {selftest.id} (2026-01-02T12:00:00+00:00, 27 s) passed.")


def test_failed_selftest_exits_with_4(capsys: pytest.CaptureFixture[str]) -> None:
    unseen = build_finding("injection", "p50", None, low=9.0, high=11.0, unit="ms")
    late = replace(build_finding("stall", "latency p95", 51.0, low=855.0, high=945.0, unit="ms"), attempts=2)
    assert print_selftest(build_selftest_of(*FINDINGS, late, unseen)) == int(ExitCode.INVALID) == 4
    out = capsys.readouterr().out
    assert "FAIL     stall" in out
    assert "FAIL     injection" in out
    assert "n/a" in out
    assert "FAILED: stall, injection" in out
    assert "repeated once" in out
    assert "Stop other work" in out


def test_selftest_json_has_findings_with_observed_values(capsys: pytest.CaptureFixture[str]) -> None:
    selftest = build_selftest_of(*FINDINGS)
    assert print_selftest(selftest, "json") == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert (document["id"], document["passed"], len(document["findings"])) == (selftest.id, True, 5)
    assert document["findings"][1]["observed"] == 901.2


def test_selftest_csv_has_one_row_per_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_selftest(build_selftest_of(*FINDINGS), "csv") == ExitCode.OK
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == len(FINDINGS)
    assert (rows[1]["observed"], rows[1]["low"], rows[1]["high"], rows[1]["verdict"]) == (
        "901.2",
        "855.0",
        "945.0",
        "PASS",
    )
    assert (rows[3]["low"], rows[3]["unit"]) == ("", "")
