from __future__ import annotations

from typing import Any

import pytest

from app.gui.forms.steps import Step, summarize_step
from app.profiles import templates
from app.profiles.bundled import bundled_profiles
from app.profiles.document import read_document

CHAT = {"protocol": "openai-chat", "url": "http://h:8000/v1", "model": "llama"}
FIXED_PROMPTS = {"prompts": {"input_tokens": 512, "output_tokens": 128}}


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (CHAT, "OpenAI chat completions at http://h:8000/v1, model llama"),
        ({"protocol": "http", "urls": ["http://a", "http://b"]}, "HTTP at http://a, http://b"),
        ({"protocol": "http"}, "HTTP, no URL yet"),
        ({"protocol": "http", "scripted": {"delay": "5ms"}}, "HTTP, scripted server of the run"),
        ({"protocol": "oip", "serve": {"model": "a/b.onnx"}},
         "Open Inference Protocol (Triton, KServe), b.onnx served by the run"),
        ({"protocol": "locust", "file": "locustfile.py"}, "Locust test file locustfile.py"),
        ({"model": "/m/net.onnx", "providers": ["cpu"], "precision": ["fp32", "int8"]},
         "net.onnx on this machine, cpu, fp32, int8"),
        ("x", "No protocol, no URL yet"),
    ],
)  # fmt: skip
def test_target_is_summarized_in_one_line(target: Any, line: str) -> None:
    assert summarize_step("target", {"target": target}) == line


@pytest.mark.parametrize(
    ("load", "workload", "line"),
    [
        ({"sweep": {"concurrency": [1, 2], "step_duration": "20s"}}, FIXED_PROMPTS,
         "1, 2 clients, 20s each; prompts of 512 tokens, 128 output tokens"),
        ({"sweep": {"max_concurrency": 64}}, {}, "1 to 64 clients, 10s each"),
        ({"sweep": {"from": "10/s", "to": "200/s"}}, {}, "10 req/s to 200 req/s, 10s each"),
        ({"sweep": {"rates": ["10/s", "20/s"]}}, {}, "10 req/s, 20 req/s, 10s each"),
        ({"stages": [{"name": "steady", "rate": "50/s", "duration": "30s"}]}, {"method": "POST"},
         "50 req/s for 30s; POST"),
        ({"stages": [{"concurrency": 1}, {"name": "b", "ramp": "1/s to 2/s"}]}, {}, "2 stages (1, b)"),
        ({"stages": [{"concurrency": 1, "duration": "5s"}], "search": {"start": "40/s"}}, {},
         "1 client for 5s, then search for the max rate within the SLO from 40 req/s"),
        ({"scenarios": ["single-stream", "offline"]}, {}, "single-stream, offline"),
        ({"batch": {}}, {"dataset": {"path": "d/prompts.jsonl"}}, "one batch job; requests from prompts.jsonl"),
        ({}, {}, "No load yet"),
        ({"stages": [3], "sweep": [], "search": "x"}, {"prompts": 3}, "No load yet"),
    ],
)  # fmt: skip
def test_load_is_summarized_in_one_line(load: Any, workload: Any, line: str) -> None:
    assert summarize_step("load", {"load": load, "workload": workload}) == line


def test_slo_is_summarized_with_display_names() -> None:
    slo = ["ttft_ms.p95 < 500", "error_rate < 1%", "nonsense"]
    assert summarize_step("slo", {"slo": slo}) == "p95 TTFT < 500 ms, error rate < 1 %, nonsense"
    assert summarize_step("slo", {"slo": [], "gates": ["x"]}) == "1 gate"
    assert summarize_step("slo", {}) == "No SLO: the run only measures"


@pytest.mark.parametrize("step", ["target", "load", "slo"])
def test_step_summaries_have_no_schema_paths_and_at_most_160_characters(step: Step) -> None:
    texts = [path.read_text() for path in bundled_profiles().values()]
    texts += [text.format(name="x") for text in (templates.ENDPOINT_TEMPLATE, templates.OPENAI_TEMPLATE)]
    for text in texts:
        line = summarize_step(step, read_document(text.encode(), "x").value)
        assert 0 < len(line) <= 160
        assert not [part for part in ("_ms", "load.", "target.", "_duration") if part in line], line
