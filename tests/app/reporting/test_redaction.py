from __future__ import annotations

import base64
import re
import zlib

import msgspec
import pytest

from app.records.bundle import Labels, Note
from app.records.comparison import Comparison, EnvironmentDifference
from app.records.result import Check, Result, WorkerData
from app.reporting.redaction import REDACTED_KINDS, REDACTED_TEXT, RedactedKind, find_identifiers, redact, replace_texts
from app.reporting.report import build_report
from reports.formats import FORMATS_BY_ID
from reports.model import Report, read_report
from reports.rendering import render
from reports.tables import build_tables
from tests.fakes.local_runs import local_run
from tests.fakes.results import full_run

SPEC = """\
sizewise: 1
# of zebrafish-70b, for quokka-box-7
name: zebrafish-70b on quokka-box-7.corp.example
target:
  protocol: openai-chat
  urls: ["http://quokka-box-7.corp.example:8000/v1", "http://10.20.30.41:8000/v1"]
  model: walrus-labs/Zebrafish-70B
  start:
    command: [vllm, serve, /srv/weights/narwhal.gguf, --host, 10.20.30.41]
    env: {MODEL_ID: pangolin-draft}
  scripted: {response: {said: the okapi sings}}
workload:
  body: {messages: [{role: user, content: why do axolotls smile}]}
  template: "why do axolotls {mood}"
  extra_body: {system: you are an axolotl}
  classes: [{name: sql, model: walrus-labs/Tarsier-lora, extra_body: {system: an axolotl who knows SQL}}]
load: {seed: 7}
slo: ["latency_ms.p95 < 50"]
telemetry:
- scrape: http://ibex-monitor:9400/metrics
  name: cards
  labels: {instance: "kudu-node:9400", model_name: gharial-7b}
"""
WORDS_BY_KIND: dict[RedactedKind, tuple[str, ...]] = {
    "hosts": ("quokka", "10.20.30.41", "ibex-monitor", "kudu-node", "bandicoot", "capybara", "numbat"),
    "models": ("zebrafish", "walrus-labs", "narwhal", "pangolin", "gharial", "tapir", "tarsier"),
    "prompts": ("axolotl", "okapi"),
}
_EMBEDDED_FILE = re.compile(r'<script type="application/octet-stream"[^>]*>([^<]*)</script>')


def build_named_result() -> Result:
    """Return a result with names in every field that has one, and in sentences that mention them."""
    full = full_run(gpu=True).result
    stage = full.stages[-2]
    workers = tuple(WorkerData(at, host, 10, 1.0, 20, 0.5) for at, host in enumerate(("capybara-1", "capybara-2")))
    named = msgspec.structs.replace(stage, name="hold on quokka-box-7", tags={"zebrafish-70b": "yes"}, workers=workers)
    difference = EnvironmentDifference("model", ("tapir-3b",), ("walrus-labs/Zebrafish-70B",), forbids=False)
    return msgspec.structs.replace(
        full,
        name="zebrafish-70b on quokka-box-7.corp.example",
        run_id="20260801-091500-zebrafish-70b-on-quokka-box-7-corp-examp-4f2a",
        target=msgspec.structs.replace(
            full.target,
            urls=("http://quokka-box-7.corp.example:8000/v1", "http://10.20.30.41:8000/v1"),
            model="walrus-labs/Zebrafish-70B",
        ),
        environment=msgspec.structs.replace(full.environment, host="bandicoot"),
        stages=(*full.stages[:-2], named, full.stages[-1]),
        validity=(*full.validity, Check("clock", 1.0, None, None, "WARN", "Bandicoot: run it on quokka-box-7 again.")),
        comparison=Comparison(("20260701-zebrafish_70b-1",), ("x",), 0.1, (), differences=(difference,)),
        notes=("walrus-labs%2FZebrafish-70B answered at http://quokka-box-7.corp.example:8000/v1",),
    )


def build_named_report(result: Result, spec: str = SPEC) -> Report:
    run = full_run(gpu=True)
    labels = Labels(
        tags=("zebrafish_70B",), notes=(Note("2026-08-01", "see http://numbat.corp.example/zebrafish-70b"),)
    )
    text = msgspec.json.encode(result).decode()
    return build_report(result, run.rows[:0], run.telemetry[:400], spec, "sizewise run spec.yaml", text, labels)


@pytest.fixture(scope="module")
def result() -> Result:
    return build_named_result()


@pytest.fixture(scope="module")
def report(result: Result) -> Report:
    return build_named_report(result)


def render_with_files(report: Report, report_format: str) -> str:
    """Return a rendered report with its tables and its unpacked embedded files, in lower case."""
    content = render(report, report_format)
    packed = (zlib.decompress(base64.b64decode(file)).decode() for file in _EMBEDDED_FILE.findall(content))
    return "\n".join((content, *packed, *build_tables(report).values())).casefold()


@pytest.mark.process
@pytest.mark.parametrize("report_format", [report_format for report_format in FORMATS_BY_ID if report_format != "pdf"])
def test_no_report_format_contains_redacted_names(report: Report, result: Result, report_format: str) -> None:
    text = render_with_files(redact(report, result, REDACTED_KINDS).report, report_format)
    assert report_format != "html" or "redacted in this report" in text
    assert [word for words in WORDS_BY_KIND.values() for word in words if word in text] == []


@pytest.mark.parametrize("kind", REDACTED_KINDS)
def test_only_requested_kinds_are_redacted(report: Report, result: Result, kind: RedactedKind) -> None:
    """The words of the other kinds are in the report, so each word can be found."""
    text = render_with_files(redact(report, result, [kind]).report, "json")
    for other, words in WORDS_BY_KIND.items():
        assert [word for word in words if word not in text] == (list(words) if other == kind else [])


def test_each_name_has_one_replacement_in_the_whole_report(report: Report, result: Result) -> None:
    redacted = redact(report, result, REDACTED_KINDS).report
    assert redacted.header.title == "model-1 on host-1"
    assert redacted.header.target == "model-1 over oip at http://host-1:8000/v1, http://host-2:8000/v1"
    assert redacted.checks[-1].hint == "host-3: run it on host-1 again."
    assert {row.host for row in redacted.workers} == {"host-4", "host-5"}
    redacted_result = msgspec.json.decode(redacted.result_json, type=Result)
    assert redacted_result.target.model == "model-1"
    assert redacted_result.stages[-2].tags == {"model-1": "yes"}
    assert "- http://host-1:8000/v1" in redacted.reproduce.spec_text
    assert redacted.reproduce.spec_text.startswith("sizewise: 1\nname: model-1 on host-1\n")


def test_every_report_format_reports_the_redaction(report: Report, result: Result) -> None:
    redacted = redact(report, result, ["hosts"]).report
    assert redacted.redacted == ("hosts",)
    for report_format in ("text", "markdown"):
        assert "The following is redacted in this report and its embedded files: host names and addresses." in " ".join(
            render(redacted, report_format).split()
        )
    assert '<property name="redacted" value="hosts"' in render(redacted, "junit")
    assert 'redacted="hosts"' in render(redacted, "openmetrics")
    assert read_report(render(redacted, "json")) == redacted
    assert msgspec.json.decode(redacted.result_json, type=Result).notes[0] == redacted.notes[0]


def test_redactions_have_replacement_and_number_of_occurrences(report: Report, result: Result) -> None:
    redactions = {redaction.original: redaction for redaction in redact(report, result, REDACTED_KINDS).redactions}
    assert redactions["walrus-labs/Zebrafish-70B"].replacement == "model-1"
    assert redactions["walrus-labs/Zebrafish-70B"].occurrences > 5
    assert [original for original in redactions if redactions[original].kind == "prompts"] == [
        "workload.body", "workload.template", "workload.extra_body", "target.scripted.response",
        "workload.classes.0.extra_body",
    ]  # fmt: skip
    assert redactions["workload.body"].replacement == REDACTED_TEXT


def test_redaction_of_a_common_word_does_not_change_numbers_or_verdicts(report: Report, result: Result) -> None:
    """A model can be named like a word of every report, or like a number."""
    for name in ("model", "1", "PASS", "ms", "latency"):
        ambiguous = msgspec.structs.replace(result, target=msgspec.structs.replace(result.target, model=name))
        redacted = redact(build_named_report(ambiguous), ambiguous, ["models"]).report
        assert read_report(render(redacted, "json")) == redacted
        assert [tile.quantity for tile in redacted.tiles] == [tile.quantity for tile in report.tiles]
        assert redacted.verdict.outcome == report.verdict.outcome


def test_redaction_without_names_leaves_the_report_unchanged() -> None:
    full = full_run()
    result = msgspec.structs.replace(
        full.result, environment=msgspec.structs.replace(full.result.environment, host="localhost")
    )
    report = build_report(result, full.rows, full.telemetry, "sizewise: 1\n", "x", "{}")
    assert redact(report, result, ["hosts", "prompts"]).report == report


@pytest.mark.parametrize(
    ("host", "is_redacted"),
    [
        ("localhost", False),
        ("LOCALHOST", False),
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("::1", False),
        ("0.0.0.0", False),
        ("zebrafish.localhost", True),
        ("localhost.example", True),
        ("10.0.0.5", True),
        ("gpu-box-7.example", True),
    ],
)
def test_only_hosts_of_this_machine_are_not_redacted(result: Result, host: str, is_redacted: bool) -> None:
    environment = msgspec.structs.replace(result.environment, host=host)
    names = find_identifiers(msgspec.structs.replace(result, environment=environment), {}, ())
    assert any(host in name.spellings for name in names if name.kind == "hosts") == is_redacted


def test_redacted_report_omits_an_unreadable_profile(result: Result) -> None:
    redacted = redact(build_named_report(result, "target: {model: [zebrafish-70b"), result, ["models"]).report
    assert redacted.reproduce.spec_text.startswith("# This file is omitted")


def test_model_file_and_digest_of_a_local_model_are_redacted() -> None:
    run = local_run()
    result = replace_texts(run.result, lambda text: text.replace("digits", "/srv/weights/zebrafish"))
    local = result.local
    assert local is not None
    variants = tuple(msgspec.structs.replace(variant, model_sha256="5d3c2b5b94cf") for variant in local.variants)
    result = msgspec.structs.replace(result, local=msgspec.structs.replace(local, variants=variants))
    report = build_report(result, run.rows, run.telemetry, "", "x", msgspec.json.encode(result).decode())
    redacted_text = render_with_files(redact(report, result, ["models"]).report, "json")
    assert "zebrafish" in render_with_files(report, "json")
    assert ("zebrafish" in redacted_text, "5d3c2b5b94cf" in redacted_text) == (False, False)
