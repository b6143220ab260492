from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.cli.main import main
from app.errors import ExitCode
from app.records.result import Target
from app.storage.run_directory import RunWriter, StoredRun
from loadgen.records import REQUEST_SCHEMA
from tests.fakes.stored_runs import reseal_run, stored_run
from tests.fakes.traffic import streaming_run

SPEC = """\
sizewise: 1
name: nightly
target: {protocol: http, url: "http://quokka.corp.example/score"}
workload: {body: why do axolotls smile}
load: {seed: 7}
slo: []
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    fake_run = streaming_run()
    rows = fake_run.rows.assign(name="http://quokka.corp.example/score")
    directory = tmp_path / "home" / "runs" / "nightly"
    with RunWriter(directory) as writer:
        writer.write_spec(SPEC)
        for batch in pa.Table.from_pandas(rows, REQUEST_SCHEMA, preserve_index=False).to_batches():
            writer.append_requests(batch)
        target = Target("http", ("http://quokka.corp.example/score",), "zebrafish", None)
        writer.write_result(msgspec.structs.replace(fake_run.result, name="nightly", target=target))
    return directory


def compute_digests(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir() if path.is_file()}


def test_redacted_report_is_written_beside_an_unchanged_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--format", "json"]) == 0
    before = compute_digests(run)
    capsys.readouterr()
    assert main(["report", str(run), "--redact", "hosts,models,prompts", "--format", "json"]) == 0
    output = capsys.readouterr()
    assert output.out == f"{run / 'report-redacted.json'}\n"
    assert "redacted: quokka.corp.example → host-1, " in output.err
    assert "redacted: zebrafish → model-1, " in output.err
    assert "redacted: workload.body → (redacted), once\n" in output.err
    written_digests = {name: digest for name, digest in compute_digests(run).items() if name not in before}
    assert written_digests.keys() >= {
        "report-redacted.json",
        "report-redacted-requests.parquet",
        "report-redacted-stages.csv",
    }
    assert {name: digest for name, digest in compute_digests(run).items() if name in before} == before
    for name in written_digests:
        content = (run / name).read_bytes().lower()
        assert [word for word in (b"quokka", b"zebrafish", b"axolotl") if word in content] == []
    assert json.loads((run / "report-redacted.json").read_text())["redacted"] == ["hosts", "models", "prompts"]
    names = pq.read_table(run / "report-redacted-requests.parquet")["name"]
    assert set(names.to_pylist()) == {"http://host-1/score"}


def test_redacted_report_only_has_no_data_files(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "nightly.json"
    out.parent.mkdir()
    assert (
        main(["report", str(run), "--format", "json", "--report-only", "--redact", "prompts", "--out", str(out)]) == 0
    )
    assert [path.name for path in out.parent.iterdir()] == ["nightly.json"]
    assert json.loads(out.read_text())["downloads"] == []


def test_reevaluated_report_is_redacted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = stored_run(tmp_path / "run").directory
    options = ["--slo", "latency_ms.p95 < 900", "--redact", "hosts", "--format", "json"]
    assert main(["report", str(run), *options]) == 0
    output = capsys.readouterr()
    assert output.out == f"{run / 'report-reevaluated-redacted.json'}\n"
    host = StoredRun(run).complete_result.environment.host
    assert f"redacted: {host} → host-1" in output.err
    report = json.loads((run / "report-reevaluated-redacted.json").read_text())
    assert report["environment"][0] == {"label": "Host", "value": "host-1"}
    assert report["verdict"]["sentence"].startswith("The run was re-evaluated with ")


def test_llm_d_reports_are_redacted(run: Path) -> None:
    assert main(["report", str(run), "--format", "llm-d", "--redact", "hosts,models,prompts"]) == 0
    texts = [path.read_text() for path in (run / "llm-d-redacted").iterdir()]
    assert texts
    assert [text for text in texts if "zebrafish" in text or "quokka" in text or "axolotl" in text] == []


def test_redaction_without_prompts_is_reported(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "spec.yaml").write_text("sizewise: 1\n")
    reseal_run(run)
    assert main(["report", str(run), "--format", "text", "--redact", "prompts"]) == 0
    assert "the report contains no prompts to redact" in capsys.readouterr().err


def test_invalid_redact_options_are_usage_errors(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--redact", "hosts,faces"]) == ExitCode.USAGE
    assert "'faces' is not one of hosts, models, prompts" in capsys.readouterr().err
    assert main(["report", str(run), "--redact", "hosts", "--definitions"]) == ExitCode.USAGE
