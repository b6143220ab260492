"""A job of the Batch API from the profile to the report, against a server that speaks it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.storage.run_directory import StoredRun
from tests.fakes.batch_server import KEY, BatchServer, Row, error_line, output_line
from tests.fakes.program import SizewiseInProcess

pytestmark = pytest.mark.process

PROFILE = """sizewise: 1
name: nightly
target: {{protocol: openai-batch, url: "{url}", model: m, api_key: env:BATCH_KEY}}
workload: {{prompts: {{input_tokens: 8, output_tokens: 5}}}}
load: {{batch: {{requests: 120, poll: 0.1s}}}}
slo: ["latency_ms.max < 60000", "error_rate < 10%", "output_tokens_per_s > 1"]
"""


def finish_job(requests: list[Row]) -> tuple[str, list[Row], list[Row]]:
    *completed, refused, expired = (request["custom_id"] for request in requests)
    return (
        "expired",
        [output_line(name) for name in completed],
        [output_line(refused, status=400), error_line(expired, "batch_expired")],
    )


def test_batch_job_has_result_and_report_without_api_key(
    sizewise_in_process: SizewiseInProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_KEY", KEY)
    path, run = tmp_path / "profile.yaml", tmp_path / "run"
    with BatchServer(finish_job) as server:
        path.write_text(PROFILE.format(url=server.url))
        done = sizewise_in_process("run", str(path), "--out", str(run))
    assert done.returncode == 0, done.stderr
    assert "The job expired after" in done.stdout
    assert "120 requests: 118 completed, 1 failed, 1 expired" in done.stdout
    summary = next(tmp_path.rglob("summary.md")).read_text()
    assert "- The job expired after" in summary
    assert "- 120 requests: 118 completed, 1 failed, 1 expired" in summary
    (stage,) = json.loads((run / "result.json").read_text())["stages"]
    batch = stage["batch"]
    assert (batch["status"], batch["completed"], batch["tokens_in"], batch["tokens_out"]) == ("expired", 118, 826, 590)
    assert (stage["kind"], stage["arrivals"], stage["concurrency"]) == ("batch", "batch", None)
    assert stage["errors"] == {"http-4xx": 1, "timeout": 1}
    rate = stage["metrics"]["output_tokens_per_s"]["value"]
    assert rate["value"] == pytest.approx(590 / batch["job_s"], rel=1e-3)
    assert (rate["ci95"], rate["reason"]) == (None, "a single job has no interval")
    assert stage["metrics"]["completed_per_s"]["value"]["n"] == 118
    assert {check["id"] for check in stage["checks"]} == {"samples", "errors", "token_counts"}
    assert len(StoredRun(run).requests()) == 120
    new_report = tmp_path / "again.json"
    done = sizewise_in_process(
        "report", str(run), "--slo", "latency_ms.max < 1", "--format", "json", "--out", str(new_report)
    )
    assert done.returncode == 10, done.stderr
    (reevaluated_stage,) = json.loads(json.loads(new_report.read_text())["result_json"])["stages"]
    assert (reevaluated_stage["good_per_s"]["value"], reevaluated_stage["good_per_s"]["ci95"]) == (0.0, None)
    assert "The job expired" in (run / "report.html").read_text()
    assert not [file for file in run.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]


def test_server_without_batch_api_exits_with_3(
    sizewise_in_process: SizewiseInProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_KEY", KEY)
    path = tmp_path / "profile.yaml"
    with BatchServer(statuses=[404]) as server:
        path.write_text(PROFILE.format(url=server.url))
        done = sizewise_in_process("run", str(path))
    assert done.returncode == 3
    assert "/v1/batches, status 404" in done.stderr
    assert KEY not in done.stderr
