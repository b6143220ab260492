from __future__ import annotations

import base64
import re
import zlib

import msgspec
import pytest

from app.records.bundle import Labels, Note
from app.records.comparison import Comparison, EnvironmentDifference
from app.records.result import Check, Result, WorkerData
from app.reporting import build_report
from app.reporting.redaction import REDACTED_KINDS, REDACTED_TEXT, RedactedKind, find_identifiers, redact, replace_texts
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
WORDS: dict[RedactedKind, tuple[str, ...]] = {
    "hosts": ("quokka", "10.20.30.41", "ibex-monitor", "kudu-node", "bandicoot", "capybara", "numbat"),
    "models": ("zebrafish", "walrus-labs", "narwhal", "pangolin", "gharial", "tapir", "tarsier"),
    "prompts": ("axolotl", "okapi"),
}
_CARRIED = re.compile(r'<script type="application/octet-stream"[^>]*>([^<]*)</script>')


def _result() -> Result:
    """Names in every place that has one, and in sentences that tell of them."""
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


def _report(result: Result, spec: str = SPEC) -> Report:
    run = full_run(gpu=True)
    labels = Labels(
        tags=("zebrafish_70B",), notes=(Note("2026-08-01", "see http://numbat.corp.example/zebrafish-70b"),)
    )
    text = msgspec.json.encode(result).decode()
    return build_report(result, run.rows[:0], run.telemetry[:400], spec, "sizewise run spec.yaml", text, labels)


@pytest.fixture(scope="module")
def result() -> Result:
    return _result()


@pytest.fixture(scope="module")
def report(result: Result) -> Report:
    return _report(result)


def _everything(report: Report, form: str) -> str:
    """With what is packed in a page, unpacked."""
    content = render(report, form)
    packed = (zlib.decompress(base64.b64decode(one)).decode() for one in _CARRIED.findall(content))
    return "\n".join((content, *packed, *build_tables(report).values())).casefold()


@pytest.mark.process
@pytest.mark.parametrize("form", [form for form in FORMATS_BY_ID if form != "pdf"])
def test_no_form_reports_what_is_hidden(report: Report, result: Result, form: str) -> None:
    reported = _everything(redact(report, result, REDACTED_KINDS).report, form)
    assert form != "html" or "redacted in this report" in reported
    assert [word for words in WORDS.values() for word in words if word in reported] == []


@pytest.mark.parametrize("kind", REDACTED_KINDS)
def test_only_what_is_asked_for_is_hidden(report: Report, result: Result, kind: RedactedKind) -> None:
    """And the words that are looked for do stand there else."""
    reported = _everything(redact(report, result, [kind]).report, "json")
    for other, words in WORDS.items():
        assert [word for word in words if word not in reported] == (list(words) if other == kind else [])


def test_one_name_is_one_word_everywhere(report: Report, result: Result) -> None:
    hidden = redact(report, result, REDACTED_KINDS).report
    assert hidden.header.title == "model-1 on host-1"
    assert hidden.header.target == "model-1 over oip at http://host-1:8000/v1, http://host-2:8000/v1"
    assert hidden.checks[-1].hint == "host-3: run it on host-1 again."
    assert {row.host for row in hidden.workers} == {"host-4", "host-5"}
    facts = msgspec.json.decode(hidden.result_json, type=Result)
    assert facts.target.model == "model-1"
    assert facts.stages[-2].tags == {"model-1": "yes"}
    assert "- http://host-1:8000/v1" in hidden.reproduce.spec_text
    assert hidden.reproduce.spec_text.startswith("sizewise: 1\nname: model-1 on host-1\n")


def test_it_is_said_in_every_form(report: Report, result: Result) -> None:
    hidden = redact(report, result, ["hosts"]).report
    assert hidden.redacted == ("hosts",)
    for form in ("text", "markdown"):
        assert "The following is redacted in this report and its embedded files: host names and addresses." in " ".join(
            render(hidden, form).split()
        )
    assert '<property name="redacted" value="hosts"' in render(hidden, "junit")
    assert 'redacted="hosts"' in render(hidden, "openmetrics")
    assert read_report(render(hidden, "json")) == hidden
    assert msgspec.json.decode(hidden.result_json, type=Result).notes[0] == hidden.notes[0]


def test_what_is_replaced_is_reported_with_how_often(report: Report, result: Result) -> None:
    reported = {one.original: one for one in redact(report, result, REDACTED_KINDS).redactions}
    assert reported["walrus-labs/Zebrafish-70B"].replacement == "model-1"
    assert reported["walrus-labs/Zebrafish-70B"].occurrences > 5
    assert [one for one in reported if reported[one].kind == "prompts"] == [
        "workload.body", "workload.template", "workload.extra_body", "target.scripted.response",
        "workload.classes.0.extra_body",
    ]  # fmt: skip
    assert reported["workload.body"].replacement == REDACTED_TEXT


def test_numbers_and_fixed_words_stay(report: Report, result: Result) -> None:
    """A model may be called as a word of every report, or by a number."""
    for name in ("model", "1", "PASS", "ms", "latency"):
        odd = msgspec.structs.replace(result, target=msgspec.structs.replace(result.target, model=name))
        hidden = redact(_report(odd), odd, ["models"]).report
        assert read_report(render(hidden, "json")) == hidden
        assert [one.quantity for one in hidden.tiles] == [one.quantity for one in report.tiles]
        assert hidden.verdict.outcome == report.verdict.outcome


def test_a_run_that_names_nobody_is_left_as_it_is() -> None:
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
def test_only_a_host_that_is_certainly_this_machine_is_shown(result: Result, host: str, is_redacted: bool) -> None:
    environment = msgspec.structs.replace(result.environment, host=host)
    names = find_identifiers(msgspec.structs.replace(result, environment=environment), {}, ())
    assert any(host in name.spellings for name in names if name.kind == "hosts") == is_redacted


def test_a_profile_that_cannot_be_read_is_left_out(result: Result) -> None:
    hidden = redact(_report(result, "target: {model: [zebrafish-70b"), result, ["models"]).report
    assert hidden.reproduce.spec_text.startswith("# This file is omitted")


def test_a_local_models_file_and_its_digest_are_its_name_too() -> None:
    run = local_run()
    result = replace_texts(run.result, lambda text: text.replace("digits", "/srv/weights/zebrafish"))
    local = result.local
    assert local is not None
    variants = tuple(msgspec.structs.replace(one, model_sha256="5d3c2b5b94cf") for one in local.variants)
    result = msgspec.structs.replace(result, local=msgspec.structs.replace(local, variants=variants))
    report = build_report(result, run.rows, run.telemetry, "", "x", msgspec.json.encode(result).decode())
    reported = _everything(redact(report, result, ["models"]).report, "json")
    assert "zebrafish" in _everything(report, "json")
    assert ("zebrafish" in reported, "5d3c2b5b94cf" in reported) == (False, False)
