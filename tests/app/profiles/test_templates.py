from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ProfileError
from app.profiles import templates
from app.profiles.bundled import bundled_profiles
from app.profiles.document import read_document
from app.profiles.editing import format_profile
from app.profiles.loading import load_profile_text
from app.profiles.local import LocalProfile
from app.profiles.profile import PROFILES
from app.profiles.templates import convert_profile, format_local_profile, list_model_edits
from tests.fakes import decoders


@pytest.mark.parametrize("text", [templates.ENDPOINT_TEMPLATE, templates.SCRIPTED_TEMPLATE])
def test_what_one_begins_with_is_right(text: str, tmp_path: Path) -> None:
    assert load_profile_text(text.format(name="mine").encode(), tmp_path / "mine.yaml").name == "mine"


def test_a_models_file_becomes_a_profile_of_it(tmp_path: Path) -> None:
    model = tmp_path / "my model: 2.onnx"
    model.write_bytes(b"")
    profile = load_profile_text(format_local_profile(model).encode(), tmp_path / "x.yaml")
    assert (profile.name, profile.target.models) == ("my-model--2", (str(model),))  # type: ignore[union-attr]


def test_the_folder_of_a_language_model_becomes_a_profile_of_its_tests(tmp_path: Path) -> None:
    folder = decoders.contiguous(tmp_path / "tiny decoder")
    profile = load_profile_text(format_local_profile(folder).encode(), tmp_path / "x.yaml")
    assert isinstance(profile, LocalProfile)
    assert (profile.name, profile.target.models) == ("tiny-decoder", (str(folder),))
    assert [test.name for test in profile.generation_tests] == ["pp512", "tg128"]


def test_a_profile_is_adapted_to_another_kind_of_model(tmp_path: Path) -> None:
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
def test_any_profile_becomes_one_of_any_protocol(name: str, protocol: str, tmp_path: Path) -> None:
    """In the unit tier, each profile becomes one of every fourth protocol, and each protocol is made of every fourth
    profile."""
    (tmp_path / "locustfile.py").touch()
    path = bundled_profiles()[name]
    tree = convert_profile(read_document(path.read_bytes(), "x").value, protocol)
    place = (tmp_path if protocol == "locust" else path.parent) / "x.yaml"
    # what was promised is the person's own: it stays, and the form says where it cannot be held to
    assert wrong_in(format_profile(tree), place) in (None, "slo", "gates")


def wrong_in(text: str, place: Path) -> str | int | None:
    try:
        load_profile_text(text.encode(), place)
    except ProfileError as error:
        return error.key_path[0]
    return None


@pytest.mark.parametrize(("protocol", "is_served"), [("openai-completions", True), ("openai-responses", False)])
def test_a_served_language_model_is_kept_where_it_can_be_served(protocol: str, is_served: bool) -> None:
    target = {"protocol": "openai-chat", "serve": {"model": "folder", "threads": 2}}
    converted = convert_profile({"sizewise": 1, "name": "x", "target": target}, protocol)["target"]
    assert converted.get("serve") == (target["serve"] if is_served else None)
    assert ("url" in converted) == (not is_served)


def test_prompts_without_a_length_of_responses_get_one_where_it_is_required(tmp_path: Path) -> None:
    target = {"protocol": "openai-embeddings", "url": "http://127.0.0.1:8000/v1", "model": "m"}
    tree = {"sizewise": 1, "name": "x", "target": target, "workload": {"prompts": {"input_tokens": 5}}}
    converted = convert_profile(tree, "anthropic-messages")
    assert converted["workload"] == {"prompts": {"input_tokens": 5, "output_tokens": 128}}
    assert wrong_in(format_profile(converted), tmp_path / "x.yaml") is None
