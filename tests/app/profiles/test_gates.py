from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.errors import ProfileError
from tests.app.profiles.conftest import Load

HTTP = {"protocol": "http", "url": "http://127.0.0.1:8000"}
CHAT = {"protocol": "openai-chat", "url": "http://127.0.0.1:8000/v1", "model": "m"}
PROMPTS = {"prompts": {"input_tokens": 5}}
STAGES = {
    "stages": [{"name": "calm", "rate": "1/s", "duration": "9s"}, {"name": "peak", "rate": "9/s", "duration": "9s"}]
}
USERS = {"stages": [{"concurrency": 1, "duration": "1s"}]}
SWEEP = {"sweep": {"rates": ["1/s", "40/s"]}}
SEARCH = {"search": {"start": "10/s"}}
SLO = ["latency_ms.p95 < 50"]
TRAFFIC = {"peak": "900/s"}


@pytest.mark.parametrize(
    ("gate", "more"),
    [
        ("latency_ms.p95{stage=peak} < 300", {}),
        ("latency_ms.p95{stage=sweep 40/s, sweep=yes} < 300", {"load": SWEEP}),
        ("good_per_s >= 95% of offered_per_s", {"slo": SLO}),
        ("change(latency_ms.p95{stage=peak}) < +8%", {}),
        ("change(max_rate_within_slo) > -5%", {"slo": SLO, "load": SEARCH}),
        ("max_rate_within_slo > 100", {"slo": SLO}),
        ("usd_per_1k_inferences <= 0.60", {"slo": SLO, "load": SEARCH, "traffic": TRAFFIC}),
        ("error_rate <= 0%", {}),
        ("scrape_clock_offset_s.max >= 0", {}),
    ],
)
def test_a_gate_on_what_is_going_to_run_is_taken(load: Load, gate: str, more: dict[str, Any]) -> None:
    values = {"load": STAGES, **more}
    assert load(HTTP, {}, gates=[gate], **values).gates[0].text == gate


@pytest.mark.parametrize(
    ("gate", "more", "says", "hint"),
    [
        ("latency_ms.p95{stage=paek} < 300", {}, "no stage has stage=paek", "Did you mean 'peak'?"),
        ("latency_ms.p95{stgae=peak} < 300", {}, 'no stage has a tag "stgae"', "Did you mean 'stage'?"),
        ("latency_ms.p95{stage=zzz} < 300", {}, "no stage has stage=zzz", "There are calm, peak."),
        ("latency_ms.p95{sweep=yes} < 300", {}, 'no stage has a tag "sweep"', "There are stage."),
        ("latency_ms.p95{stage=hold} < 300", {"load": SEARCH, "slo": SLO}, "stage=hold", "the search names its own"),
        ("change(latency_ms.p95{stage=paek}) < 8%", {}, "no stage has stage=paek", "Did you mean 'peak'?"),
        ("change(ttft_ms.p95) < 8%", {}, "streamed answers", "Use latency_ms."),
        ("latency_ms.p95 < 90% of ttft_ms.p95", {}, "streamed answers", "Use latency_ms."),
        ("completed_per_s < 90% of good_per_s", {}, "slo sets none", "Add one to slo"),
        ("max_rate_within_slo > 9", {}, "none is looked for", "Add load.search"),
        ("max_rate_within_slo > 9", {"load": USERS, "slo": SLO}, "none is looked for", "Add load.search"),
        ("change(max_rate_within_slo) > -5%", {}, "none is looked for", "Add load.search"),
        ("usd_per_month < 900", {"slo": SLO}, "nothing is planned without traffic", "Add traffic."),
        ("usd_per_1m_tokens < 9", {"slo": SLO, "traffic": TRAFFIC}, "is of openai-chat", "usd_per_1k_inferences"),
        ("latency_ms.p95 >= 0", {}, "can never fail", "breaks"),
        ("error_rate <= 100%", {}, "can never fail", "breaks"),
        ("change(latency_ms.p95) >= -100%", {}, "can never fail", "breaks"),
        ("completed_per_s >= 0% of offered_per_s", {}, "can never fail", "breaks"),
        ("usd_per_month < 0", {"slo": SLO, "traffic": TRAFFIC}, "can never be met", "above 0"),
        ("change(latency_ms.p95) < -100%", {}, "can never be met", "above -100%"),
        ("latncy_ms.p95 < 8", {}, 'no metric "latncy_ms"', "latency_ms"),
        ("error_rate < 0.1", {}, "has no unit", "0.1%"),
    ],
)
def test_a_gate_on_what_will_not_be_is_refused_with_its_line(
    load: Load, gate: str, more: dict[str, Any], says: str, hint: str
) -> None:
    values = {"load": STAGES, **more}
    with pytest.raises(ProfileError) as caught:
        load(HTTP, {}, gates=["latency_ms.p95 < 300", gate], **values)
    assert says in str(caught.value)
    assert hint in str(caught.value.hint)
    assert caught.value.line is not None
    assert str(caught.value).partition(": ")[0].endswith(f"profile.yaml:{caught.value.line}")


def test_the_cost_of_tokens_is_of_what_generates_them(load: Load) -> None:
    gates = ["usd_per_1m_tokens < 9"]
    assert load(CHAT, PROMPTS, STAGES, slo=SLO, traffic=TRAFFIC, gates=gates).gates


@pytest.mark.parametrize("gate", ["change(latency_ms.p95) < 8%", "latency_ms.p95{stage=peak} < 8"])
def test_an_slo_may_not_say_what_only_a_gate_may(load: Load, gate: str) -> None:
    with pytest.raises(ProfileError) as caught:
        load(HTTP, {}, STAGES, slo=[gate])
    assert caught.value.hint == "Make it a gate."
    assert caught.value.line is not None


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        ("service_ms.p95{provider=cuda} < 9", "no stage has provider=cuda"),
        ("service_ms.p95{scenario=server} < 9", "no stage has scenario=server"),
        ("service_ms.p95{batch=3} < 9", "no stage has batch=3"),
        ("max_rate_within_slo > 9", "is of endpoints"),
    ],
)
def test_a_gate_on_a_model_may_choose_among_its_variants(load: Load, gate: str, says: str) -> None:
    target, scenarios = {"model": "digits", "batch": [1, 8]}, {"scenarios": ["single-stream", "offline"]}
    kept = load(target, None, scenarios, gates=["service_ms.p95{provider=cpu, batch=8, scenario=offline} < 9"])
    assert kept.gates[0].tags["batch"] == "8"
    with pytest.raises(ProfileError, match=says) as caught:
        load(target, None, scenarios, gates=[gate])
    assert caught.value.hint is not None


def test_the_guides_gates_are_right(load: Load) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guide.md").read_text(encoding="utf-8")
    told = yaml.safe_load(guide.partition("## Gates")[2].partition("```yaml")[2].partition("```")[0])
    stages = {"stages": [{"name": "peak", "rate": "9/s", "duration": "20s"}]}
    profile = load(CHAT, PROMPTS, stages, slo=SLO, traffic=TRAFFIC, **told)
    assert len(profile.gates) == len(told["gates"]) > 9
