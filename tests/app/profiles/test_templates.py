from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import ProfileError
from app.profiles import templates
from app.profiles.bundled import bundled_profiles
from app.profiles.document import read_document
from app.profiles.editing import format_profile
from app.profiles.loading import load_profile_text
from app.profiles.local import LocalProfile
from app.profiles.profile import PROFILES
from app.profiles.templates import (
    adapt_to_url,
    convert_profile,
    format_local_profile,
    has_default_slo,
    list_default_objectives,
    list_model_edits,
)
from tests.fakes import decoders


@pytest.mark.parametrize("text", [templates.ENDPOINT_TEMPLATE, templates.OPENAI_TEMPLATE, templates.SCRIPTED_TEMPLATE])
def test_profile_templates_load(text: str, tmp_path: Path) -> None:
    assert load_profile_text(text.format(name="mine").encode(), tmp_path / "mine.yaml").name == "mine"


def test_local_profile_of_a_model_file_has_its_name_and_path(tmp_path: Path) -> None:
    model = tmp_path / "my model: 2.onnx"
    model.write_bytes(b"")
    profile = load_profile_text(format_local_profile(model).encode(), tmp_path / "x.yaml")
    assert (profile.name, profile.target.models) == ("my-model--2", (str(model),))  # type: ignore[union-attr]


def test_local_profile_of_a_language_model_folder_has_generation_tests(tmp_path: Path) -> None:
    folder = decoders.contiguous(tmp_path / "tiny decoder")
    profile = load_profile_text(format_local_profile(folder).encode(), tmp_path / "x.yaml")
    assert isinstance(profile, LocalProfile)
    assert (profile.name, profile.target.models) == ("tiny-decoder", (str(folder),))
    assert [test.name for test in profile.generation_tests] == ["pp512", "tg128"]


def test_model_edits_adapt_a_profile_to_another_kind_of_model(tmp_path: Path) -> None:
    folder, gguf, onnx = decoders.contiguous(tmp_path / "tiny"), tmp_path / "m.gguf", tmp_path / "m.onnx"
    for file in (gguf, onnx):
        file.touch()
    local = read_document(format_local_profile(onnx).encode(), "x").value
    local["target"]["precision"] = ["as-is", "fp16"]
    local["workload"] = {"tensors": str(onnx)}
    edits = list_model_edits(local, folder)
    assert edits == {
        "load.scenarios": None,
        "workload.tensors": None,
        "target.precision": None,
        "load.tests": ["pp512", "tg128"],
        "slo": ["itl_ms.p95 < 50"],
    }
    assert list_model_edits(local, onnx) == {}
    generative = read_document(format_local_profile(folder).encode(), "x").value
    generative["target"]["precision"] = ["int8"]
    assert list_model_edits(generative, gguf) == {}
    assert list_model_edits(generative, folder) == {"target.precision": None}
    assert list_model_edits(generative | {"slo": ["itl_ms.p50 < 9"]}, onnx) == {
        "load.tests": None,
        "target.precision": None,
    }, "an SLO that the user wrote remains"


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        pytest.param(name, protocol, marks=[pytest.mark.soak] if (row + column) % 4 else [])
        for row, name in enumerate(bundled_profiles())
        for column, protocol in enumerate(PROFILES)
    ],
)
def test_profile_converted_to_any_protocol_is_valid_except_for_its_slo(
    name: str, protocol: str, tmp_path: Path
) -> None:
    """In the unit tier, each profile is converted to every fourth protocol, and each protocol is reached from every
    fourth profile."""
    (tmp_path / "locustfile.py").touch()
    path = bundled_profiles()[name]
    tree = convert_profile(read_document(path.read_bytes(), "x").value, protocol)
    path_of_profile = (tmp_path if protocol == "locust" else path.parent) / "x.yaml"
    # The objectives of the user remain, even those that the other protocol does not support.
    assert find_invalid_section(format_profile(tree), path_of_profile) in (None, "slo", "gates")


def find_invalid_section(text: str, path: Path) -> str | int | None:
    try:
        load_profile_text(text.encode(), path)
    except ProfileError as error:
        return error.key_path[0]
    return None


@pytest.mark.parametrize(("protocol", "is_served"), [("openai-completions", True), ("openai-responses", False)])
def test_converted_target_serves_a_language_model_only_with_a_supporting_protocol(
    protocol: str, is_served: bool
) -> None:
    target = {"protocol": "openai-chat", "serve": {"model": "folder", "threads": 2}}
    converted = convert_profile({"sizewise": 1, "name": "x", "target": target}, protocol)["target"]
    assert converted.get("serve") == (target["serve"] if is_served else None)
    assert ("url" in converted) == (not is_served)


def test_converted_prompts_have_an_output_length_for_protocols_that_require_it(tmp_path: Path) -> None:
    target = {"protocol": "openai-embeddings", "url": "http://127.0.0.1:8000/v1", "model": "m"}
    tree = {"sizewise": 1, "name": "x", "target": target, "workload": {"prompts": {"input_tokens": 5}}}
    converted = convert_profile(tree, "anthropic-messages")
    assert converted["workload"] == {"prompts": {"input_tokens": 5, "output_tokens": 128}}
    assert find_invalid_section(format_profile(converted), tmp_path / "x.yaml") is None


def new_endpoint(**target: Any) -> dict[str, Any]:
    tree: dict[str, Any] = read_document(templates.ENDPOINT_TEMPLATE.format(name="x").encode(), "x").value
    return {**tree, "target": {**tree["target"], **target}}


@pytest.mark.parametrize("protocol", PROFILES)
def test_unedited_default_slo_follows_the_protocol(protocol: str, tmp_path: Path) -> None:
    (tmp_path / "locustfile.py").touch()
    tree = convert_profile(new_endpoint(), protocol)
    assert find_invalid_section(format_profile(tree), tmp_path / "x.yaml") is None
    assert (tree["slo"], has_default_slo(tree)) == (list_default_objectives(protocol), True)
    assert has_default_slo(convert_profile(tree, "http"))


@pytest.mark.parametrize("slo", [["latency_ms.p95 < 51"], [], None])
def test_edited_or_removed_slo_is_not_changed_by_conversion(slo: list[str] | None) -> None:
    tree = {key: value for key, value in (new_endpoint() | {"slo": slo}).items() if value is not None}
    assert convert_profile(tree, "openai-chat").get("slo") == slo


@pytest.mark.parametrize(
    ("url", "protocol", "base_url"),
    [
        ("http://h:8000/v1", "openai-chat", "http://h:8000/v1"),
        ("http://h:8000/v1/", "openai-chat", "http://h:8000/v1"),
        (" http://h/v1/chat/completions ", "openai-chat", "http://h/v1"),
        ("https://h/openai/v1/models", "openai-chat", "https://h/openai/v1"),
        ("http://h/v1/completions", "openai-completions", "http://h/v1"),
        ("http://h/v1/embeddings", "openai-embeddings", "http://h/v1"),
        ("https://h/v1/messages", "anthropic-messages", "https://h"),
        ("ws://h:8000/v1", "openai-realtime", "ws://h:8000/v1"),
        ("http://h/v2", "oip", "http://h"),
        ("grpc://h:8001", "oip-grpc", "grpc://h:8001"),
    ],
)
def test_protocol_and_base_url_are_inferred_from_a_url(url: str, protocol: str, base_url: str, tmp_path: Path) -> None:
    adapted = adapt_to_url(new_endpoint(url=url), new_endpoint())
    assert adapted is not None
    assert (adapted["target"]["protocol"], adapted["target"]["url"]) == (protocol, base_url)
    assert find_invalid_section(format_profile(adapted), tmp_path / "x.yaml") is None
    is_text = protocol in ("openai-chat", "openai-completions", "anthropic-messages")
    assert ("concurrency" in adapted["load"].get("sweep", {})) == is_text


@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("http://h/v2/models/res%20net/infer", "res net"),
        ("http://h/v1/models/half:predict", "half"),
        ("http://h/predictions/dense", "dense"),
    ],
)
def test_model_name_is_inferred_from_a_url(url: str, model: str) -> None:
    adapted = adapt_to_url(new_endpoint(url=url), new_endpoint())
    assert adapted is not None
    assert (adapted["target"]["model"], adapted["target"]["url"]) == (model, "http://h")


@pytest.mark.parametrize(
    "url",
    [
        "http://h/score",
        "http://h",
        "h/v1",
        "http:///v1",
        "http://h/v1?api-version=2",
        "http://[/v1",
        "ws://h/v1/messages",
        3,
        None,
    ],
)
def test_url_without_a_known_api_does_not_change_the_profile(url: object) -> None:
    assert adapt_to_url(new_endpoint(url=url), new_endpoint()) is None


@pytest.mark.parametrize(("url", "protocol"), [("http://h/score", "http"), ("http://h/v2", "oip")])
def test_http_url_replaces_a_grpc_protocol(url: str, protocol: str) -> None:
    grpc_service = convert_profile(new_endpoint(), "oip-grpc")
    adapted = adapt_to_url({**grpc_service, "target": {**grpc_service["target"], "url": url}}, new_endpoint())
    assert adapted is not None
    assert adapted["target"]["protocol"] == protocol
    assert str(adapted["target"]["url"]).startswith("http://h")
    assert adapt_to_url(grpc_service, new_endpoint()) is None


def test_url_does_not_replace_a_matching_protocol_or_edited_values() -> None:
    chat = convert_profile(new_endpoint(url="http://h/v1"), "openai-embeddings")
    assert adapt_to_url(chat, new_endpoint()) is None, "/v1 is the base path of every OpenAI API"
    edited = new_endpoint(url="http://h/v1") | {
        "load": {"stages": [{"rate": "1/s", "duration": "9s"}]},
        "slo": ["p95 < 9ms"],
    }
    adapted = adapt_to_url(edited, new_endpoint())
    assert adapted is not None
    assert (adapted["load"], adapted["slo"]) == (edited["load"], edited["slo"])
