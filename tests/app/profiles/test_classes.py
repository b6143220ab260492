"""Classes of requests in a profile: what they inherit, what is refused, and their objectives."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from app.errors import ProfileError, UsageError
from app.profiles.classes import MAX_CLASSES, parse_slo
from app.profiles.document import read_document
from app.profiles.redaction import find_secret_keys
from app.profiles.resolved import compute_workload_hash, format_spec
from app.wiring.workload import build_workload
from loadgen.workloads import FixedLength, HttpWorkload, MixedWorkload, OpenAiWorkload, SyntheticPrompts
from tests.app.profiles.conftest import Load

HTTP = {"protocol": "http", "url": "http://127.0.0.1:8000"}
CHAT = {"protocol": "openai-chat", "url": "http://127.0.0.1:8000/v1", "model": "base"}
MESSAGES = {**CHAT, "protocol": "anthropic-messages"}
PROMPTS = {"input_tokens": 5, "output_tokens": 3}
LIVE = {**PROMPTS, "turns": 3, "history": "live"}


def classes(*records: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"classes": [copy.deepcopy(record) for record in records], **copy.deepcopy(more)}


def workloads(profile: Any) -> list[OpenAiWorkload]:
    mix = build_workload(profile)
    assert isinstance(mix, MixedWorkload)
    return [part.workload for part in mix.classes if isinstance(part.workload, OpenAiWorkload)]


def test_request_class_inherits_unset_keys_of_the_workload(load: Load, tmp_path: Path) -> None:
    (tmp_path / "sessions.jsonl").write_text('{"session": 1, "text": "hi"}\n')
    profile = load(
        CHAT,
        classes(
            {"name": "chat", "weight": 6},
            {"name": "sql", "model": "sql-lora", "extra_body": {"priority": 5, "top_p": 1}},
            {"name": "agent", "weight": 2.5, "sessions": "sessions.jsonl"},
            prompts=PROMPTS,
            extra_body={"top_p": 0.5, "seed": 7},
            cache_bust="run",
        ),
    )
    mix = build_workload(profile)
    assert isinstance(mix, MixedWorkload)
    assert [(part.name, part.weight) for part in mix.classes] == [("chat", 6), ("sql", 1), ("agent", 2.5)]
    chat, sql, agent = workloads(profile)
    assert chat.prompts == sql.prompts == SyntheticPrompts(FixedLength(5), FixedLength(3))
    assert (chat.model, sql.model, agent.model) == ("base", "sql-lora", "base")
    assert (chat.extra_body, sql.extra_body) == (
        b'{"top_p": 0.5, "seed": 7}',
        b'{"top_p": 1, "seed": 7, "priority": 5}',
    )
    assert len({chat.seed, sql.seed, agent.seed}) == 3, "with the same seed, the classes would have the same texts"
    assert chat.cache_bust == sql.cache_bust is not None, "a class must not depend on the others"


def test_http_request_classes_have_their_own_path_and_body(load: Load) -> None:
    profile = load(HTTP, classes({"name": "read", "path": "/a"}, {"name": "write", "path": "/b", "body": {"x": 1}}))
    mix = build_workload(profile)
    assert isinstance(mix, MixedWorkload)
    workload_of_classes = [part.workload for part in mix.classes if isinstance(part.workload, HttpWorkload)]
    assert [(workload.method, workload.path, workload.bodies) for workload in workload_of_classes] == [
        ("GET", "/a", ()),
        ("POST", "/b", (b'{"x":1}',)),
    ]


CHECKED = {"name": "a", "prompts": PROMPTS}


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        (classes(CHECKED, CHECKED), "two classes have the name 'a'"),
        (classes(CHECKED | {"name": "<b>x</b>"}), "name must"),
        (classes(CHECKED | {"name": "x" * 65}), "name must"),
        (classes({"prompts": PROMPTS}), "missing the key name"),
        (classes(CHECKED | {"weight": 0}), "weight must be greater than 0"),
        (classes(CHECKED | {"weight": -1}), "weight must be greater than 0"),
        (classes(CHECKED | {"weight": float("nan")}), "weight must be"),
        (classes(CHECKED | {"weight": 1e300}), "weight must be"),
        (classes(CHECKED | {"wieght": 2}), "the key 'wieght' is unknown"),
        (classes(CHECKED | {"stream": False}), "the key 'stream' is unknown"),
        (classes(*({"name": f"c{n}"} for n in range(MAX_CLASSES + 1)), prompts=PROMPTS), "at most 64 are allowed"),
        (classes({"name": "a"}), "class a has no prompts"),
        (classes(CHECKED, prompts=PROMPTS), "prompts that no class uses"),
        (classes(CHECKED | {"dataset": "x.jsonl"}), "only one of prompts, dataset and sessions"),
        (classes(CHECKED | {"extra_body": {"model": "x"}}), "must not set model in extra_body"),
        (classes(CHECKED | {"extra_body": {"stream": False}}), "must not set stream in extra_body"),
        (
            classes({"name": "a", "prompts": LIVE}, {"name": "b", "prompts": LIVE | {"reasoning": "keep"}}),
            "same setting of reasoning",
        ),
        (classes(CHECKED | {"slo": ["ttft_ms.p95"]}), "not a valid objective"),
        (classes(CHECKED | {"slo": ["ttft_ms.p95{class=a} < 5"]}), "already belongs to one"),
        (classes(CHECKED | {"slo": ["host_memory_gib.max < 5"]}), "host_memory_gib is not measured for each class"),
        (classes(CHECKED | {"slo": ["goodput_share > 90%"]}), "needs a latency limit"),
    ],
)
def test_invalid_request_classes_are_rejected_with_their_line(
    load: Load, tmp_path: Path, workload: dict[str, Any], message: str
) -> None:
    (tmp_path / "x.jsonl").write_text('{"prompt": "hi"}\n')
    with pytest.raises(ProfileError) as caught:
        load(CHAT, workload)
    assert message in str(caught.value)
    assert caught.value.line is not None
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "workload", "message"),
    [
        (HTTP, classes({"name": "a"}, path="/x"), "workload.path cannot be combined with workload.classes"),
        (HTTP, classes({"name": "a", "method": "HEAD"}, {"name": "b"}), "HEAD requests cannot be mixed"),
        (MESSAGES, classes({"name": "a", "prompts": {"input_tokens": 5}}), "a maximum number of output tokens"),
        (MESSAGES, classes({"name": "a", "prompts": LIVE}), "sends no live sessions"),
        (
            {**CHAT, "protocol": "openai-embeddings"},
            classes({"name": "a"}, prompts={"input_tokens": 5}),
            "the key 'classes' is unknown",
        ),
        (
            {"protocol": "tf-serving", "url": "http://h:1", "model": "m"},
            classes({"name": "a"}),
            "the key 'classes' is unknown",
        ),
    ],
)
def test_request_classes_are_rejected_for_protocols_that_cannot_mix_requests(
    load: Load, target: Any, workload: Any, message: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        load(target, workload)
    assert message in str(caught.value)


def test_request_classes_cannot_be_combined_with_a_trace(load: Load, tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("at_s,input_tokens,output_tokens\n0,5,5\n1,5,5\n")
    with pytest.raises(ProfileError, match="the trace determines the order of the requests"):
        load(CHAT, classes({"name": "a"}, trace="trace.csv"))


MIX = classes(
    {"name": "chat", "weight": 3, "slo": ["ttft.p95 < 0.3s", "error_rate < 2% | warn"]},
    {"name": "batch", "weight": 1},
    prompts=PROMPTS,
)


def test_class_objectives_follow_the_objectives_of_the_profile(load: Load) -> None:
    profile = load(CHAT, MIX, slo=["error_rate < 1%", "ttft_ms.p95{class=batch} < 2000"])
    slo = profile.complete_slo
    assert [objective.text for objective in slo] == [
        "error_rate < 1%",
        "ttft_ms.p95{class=batch} < 2000",
        "ttft_ms.p95{class=chat} < 300",
        "error_rate{class=chat} < 2% | warn",
    ]
    assert [objective.request_class for objective in slo] == [None, "batch", "chat", "chat"]
    assert [objective.request_share for objective in slo] == [None, 0.25, 0.75, 0.75]
    assert slo[2].label == "p95 TTFT (chat) < 300 ms"
    assert parse_slo(read_document(format_spec(profile).encode(), "spec").value) == slo, (
        "the stored spec has the same objectives"
    )


def test_rate_search_accepts_objectives_of_classes_only(load: Load) -> None:
    assert load(CHAT, MIX, load={"search": {"start": "10/s"}}).slo == ()
    without_slo = classes({"name": "chat"}, prompts=PROMPTS)
    with pytest.raises(ProfileError, match="slo is empty"):
        load(CHAT, without_slo, load={"search": {"start": "10/s"}})


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("slo", "ttft_ms.p95{class=chta} < 5", "the workload has no class 'chta'"),
        ("gates", "ttft_ms.p95{class=other} < 5", "the workload has no class 'other'"),
        ("gates", "change(ttft_ms.p95{class=chat}) < +5%", "compared for all classes together"),
        ("gates", "energy_j{class=chat} < 5", "energy_j is not measured for each class"),
        ("slo", "ttft_ms.p95{stage=peak} < 5", "cannot have tags other than class"),
    ],
)
def test_objective_with_an_invalid_class_is_rejected(load: Load, key: str, text: str, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        load(CHAT, MIX, **{key: [text]})
    assert message in str(caught.value)


def test_gate_may_select_a_class_and_a_stage(load: Load) -> None:
    stages = {"stages": [{"name": "peak", "rate": "9/s", "duration": "9s"}]}
    text = "ttft_ms.p95{class=chat, stage=peak} < 300"
    assert load(CHAT, MIX, load=stages, gates=[text]).gates[0].tags == {"class": "chat", "stage": "peak"}


def test_secrets_of_a_request_class_are_redacted_and_not_sent(load: Load) -> None:
    token = "sk-proj-0123456789abcdefghijklmnopqrstuvwx"
    mix = classes({"name": "a", "extra_body": {"api_key": token}}, prompts=PROMPTS)
    profile = load(CHAT, mix)
    stored = format_spec(profile)
    assert token not in stored
    tree = read_document(stored.encode(), "spec").value
    with pytest.raises(UsageError, match=r"workload\.classes\[0\]\.extra_body was removed"):
        build_workload(load(CHAT, tree["workload"]))
    assert find_secret_keys(f"workload: {mix}") == ("workload.classes.extra_body.api_key",)


def test_class_objectives_do_not_change_the_workload_hash(load: Load) -> None:
    with_slo, without_slo = (
        load(CHAT, classes({"name": "a", **more}, prompts=PROMPTS)) for more in ({"slo": ["ttft_ms.p95 < 5"]}, {})
    )
    other = load(CHAT, classes({"name": "a", "weight": 2}, {"name": "b"}, prompts=PROMPTS))
    assert compute_workload_hash(with_slo) == compute_workload_hash(without_slo) != compute_workload_hash(other)
