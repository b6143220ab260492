from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.errors import ProfileError, UsageError
from app.profiles.document import read_document
from app.profiles.editing import format_profile
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.loading import load_profile_tree
from app.profiles.profile import GeneratingProfile, HttpProfile
from app.profiles.url_profile import UrlLoad, UrlTarget, build_url_tree

URL = "http://127.0.0.1:8000/v1/score"
HTTP = UrlTarget(url=URL)
CHAT = UrlTarget(url="http://127.0.0.1:8000/v1", protocol="openai-chat", model="m")


def load_url_profile(target: UrlTarget = HTTP, **load: Any) -> EndpointProfile:
    """Load the profile of the options, and check that its YAML text loads as the same profile."""
    tree = build_url_tree(target, UrlLoad(**load))
    profile = load_profile_tree(tree, "the command line")
    reloaded = load_profile_tree(read_document(format_profile(tree).encode(), "saved").value, "saved")
    assert reloaded == profile
    assert isinstance(profile, EndpointProfile)
    return profile


@pytest.mark.parametrize(
    ("load", "names"),
    [
        ({"rates": ("200/s",)}, ["steady"]),
        ({"concurrency": (16,)}, ["steady"]),
        ({}, ["steady"]),
        ({"concurrency": (1, 4), "requests": 100}, ["concurrency-1", "concurrency-4"]),
        ({"rates": ("10/s", "6000/min"), "requests": 100}, ["rate-10", "rate-6000-min"]),
    ],
)
def test_load_options_without_a_sweep_become_stages(load: dict[str, Any], names: list[str]) -> None:
    profile = load_url_profile(**load)
    assert [stage.name for stage in profile.load.stages] == names
    assert (profile.load.sweep, profile.load.search) == (None, None)
    assert all(stage.requests == load.get("requests") for stage in profile.load.stages)


def test_several_rates_or_concurrencies_become_a_sweep() -> None:
    sweep = load_url_profile(rates=("50/s", "100/s"), duration="5s").load.sweep
    assert sweep is not None
    assert (sweep.swept_rates_per_s, sweep.step_duration_s) == ((50.0, 100.0), 5.0)
    sweep = load_url_profile(CHAT, concurrency=(1, 2, 4)).load.sweep
    assert sweep is not None
    assert sweep.swept_concurrency == (1, 2, 4)


def test_slo_without_a_load_becomes_a_rate_search() -> None:
    profile = load_url_profile(slo=("p95 < 50ms", "error_rate < 1%"), duration="4s", warmup="0s")
    assert profile.load.search is not None
    assert (profile.load.search.step_duration_s, profile.load.search.max_duration_s) == (4.0, 300.0)
    assert profile.load.warmup_s == 0.0
    assert [objective.text for objective in profile.slo] == ["latency_ms.p95 < 50", "error_rate < 1%"]


def test_max_duration_applies_only_to_a_rate_search() -> None:
    search = load_url_profile(slo=("p95 < 50ms",), max_duration="20m").load.search
    assert search is not None
    assert search.max_duration_s == 1200.0
    for load in ({"rates": ("5/s",), "slo": ("p95 < 50ms",)}, {"requests": 10, "slo": ("p95 < 50ms",)}, {}):
        with pytest.raises(UsageError, match="--max-duration"):
            load_url_profile(max_duration="20m", **load)


@pytest.mark.parametrize("target", [HTTP, CHAT])
def test_trace_is_the_load_and_supplies_the_prompts_of_a_language_model(tmp_path: Path, target: UrlTarget) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("timestamp,input_tokens,output_tokens\n0,5,6\n4,7,8\n")
    profile = load_url_profile(target, trace=str(path), duration="3s", slo=("p95 < 50ms",))
    (stage,) = profile.load.stages
    assert (stage.name, stage.trace, stage.duration_s, profile.load.search) == ("replay", path, 3.0, None)
    assert getattr(profile.workload, "trace", None) == (path if target is CHAT else None)
    assert (profile.load.warmup_s == 0) == (target is CHAT), "a warm-up would fill the prefix cache with its prompts"
    (stage,) = load_url_profile(CHAT, trace=str(path), rates=("5/s",)).load.stages
    assert (stage.trace, stage.rate_per_s) == (None, 5.0), "the prompts of the trace at another rate"


def test_default_load_is_one_concurrent_request_for_10_s() -> None:
    (stage,) = load_url_profile().load.stages
    assert (stage.concurrency, stage.duration_s) == (1, 10.0)


def test_request_options_follow_curl(tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"features": [0.1]}')
    headers = ("X-Team: a: b", "content-type: application/x-thing", "Authorization: Bearer env:API_KEY")
    target = UrlTarget(url=URL, method="put", data=f"@{body}", headers=headers)
    profile = load_url_profile(target)
    assert isinstance(profile, HttpProfile)
    assert (profile.workload.method, profile.workload.body) == ("PUT", {"features": [0.1]})
    assert profile.workload.content_type == "application/x-thing"
    assert dict(profile.target.headers) == {"X-Team": "a: b", "Authorization": "Bearer env:API_KEY"}


@pytest.mark.parametrize(("data", "method"), [(None, "GET"), ('"text"', "POST"), ("", "POST"), ("[1, 2]", "POST")])
def test_request_with_the_data_option_is_a_post(data: str | None, method: str) -> None:
    profile = load_url_profile(UrlTarget(url=URL, data=data))
    assert isinstance(profile, HttpProfile)
    assert profile.workload.method == method


@pytest.mark.parametrize(
    "headers", [(), ("Content-Type: application/json",), ("content-type: application/x+json; a=b",)]
)
def test_body_that_is_not_json_requires_another_content_type(headers: tuple[str, ...]) -> None:
    with pytest.raises(ProfileError, match="not JSON"):
        load_url_profile(UrlTarget(url=URL, data="{'features': [1]}", headers=headers))
    profile = load_url_profile(UrlTarget(url=URL, data="plain text", headers=("Content-Type: text/plain",)))
    assert isinstance(profile, HttpProfile)
    assert profile.workload.body == "plain text"


def test_chat_prompts_have_the_requested_lengths() -> None:
    target = UrlTarget(url=CHAT.url, protocol="openai-chat", model="m", input_tokens="uniform 10 to 20")
    profile = load_url_profile(target)
    assert isinstance(profile, GeneratingProfile)
    assert build_url_tree(target, UrlLoad())["workload"]["prompts"] == {
        "input_tokens": "uniform 10 to 20", "output_tokens": 128,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (URL, "127.0.0.1-8000-v1-score"),
        ("http://[::1]:80/", "1-80"),
        ("https://a.example/" + "x" * 99, "a.example-" + "x" * 54),
        ("http://user:secret@host/", "host"),
    ],
)
def test_profile_name_is_derived_from_the_url_without_credentials(url: str, name: str) -> None:
    assert build_url_tree(UrlTarget(url=url), UrlLoad())["name"] == name


@pytest.mark.parametrize(
    ("target", "load", "message"),
    [
        (HTTP, {"rates": ("5/s",), "concurrency": (1,)}, "--rate and --concurrency cannot be combined"),
        (UrlTarget(url=URL, data="@gone.json"), {}, "--data @gone.json: No such file"),
        (UrlTarget(url=URL, headers=("Name",)), {}, "--header 'Name' has no value"),
        (UrlTarget(url=URL, input_tokens="5"), {}, "--input-tokens requires --openai"),
        (HTTP, {"trace": "t.csv", "requests": 5}, "--requests cannot be combined with --trace"),
        (msgspec.structs.replace(CHAT, output_tokens="5"), {"trace": "t.csv"}, "--output-tokens cannot be combined"),
        (HTTP, {"trace": "t.csv", "rates": ("5/s",)}, "--trace cannot be combined with --rate"),
        (UrlTarget(url=URL, output_tokens="5", protocol="oip", model="m"), {}, "--output-tokens requires --openai"),
    ],
)
def test_conflicting_command_line_options_are_rejected(target: UrlTarget, load: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        build_url_tree(target, UrlLoad(**load))


@pytest.mark.parametrize(
    ("target", "load", "message"),
    [
        (HTTP, {"rates": ("fast",)}, "the command line: load.stages"),
        (UrlTarget(url="http:///x"), {}, "contain a host"),
        (UrlTarget(url="http://user:secret@host/"), {}, "the command line: target.url"),
        (HTTP, {"slo": ("p95 is fast",)}, "is not a valid objective"),
    ],
)
def test_command_line_values_are_validated_as_in_a_profile(
    target: UrlTarget, load: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        load_url_profile(target, **load)
    assert message in f"{caught.value} {caught.value.hint}"
    assert "secret@" not in str(caught.value)
