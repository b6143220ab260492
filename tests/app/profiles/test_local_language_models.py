from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ProfileError
from app.inference.probe import DIGITS_MODEL
from app.profiles.loading import load_profile_text
from app.profiles.local import LocalProfile
from tests.fakes import decoders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    decoders.contiguous(tmp_path / "tiny")
    return tmp_path


def _load(folder: Path, *lines: str, model: str = "tiny", target: str = "") -> LocalProfile:
    text = "\n".join(["sizewise: 1", "name: tiny", f"target: {{model: {model}{target}}}", *lines])
    profile = load_profile_text(text.encode(), folder / "llm.yaml")
    assert isinstance(profile, LocalProfile)
    return profile


def test_folder_of_a_language_model_has_the_default_tests_of_llama_bench(folder: Path) -> None:
    profile = _load(folder)
    assert profile.target.models == (str(folder / "tiny"),)
    assert [test.name for test in profile.generation_tests] == ["pp512", "tg128"]
    for written in ('[pp16, "tg4 @ d32"]', '"pp16, tg4 @ d32"'):
        profile = _load(folder, f"load: {{tests: {written}}}")
        assert [test.name for test in profile.generation_tests] == ["pp16", "tg4 @ d32"]


@pytest.mark.parametrize(
    ("lines", "target", "problem"),
    [
        (["load: {scenarios: [offline]}"], "", "load.scenarios does not apply to language models"),
        (["workload: {tensors: rows.npz}"], "", "workload.tensors does not apply"),
        ([], ", precision: fp16", "target.precision does not apply"),
        ([], ", streams: 2", "target.streams does not apply"),
        ([], ", runtime: {spinning: true}", "target.runtime does not apply"),
        (['load: {tests: "pp16 @ d32"}'], ", batch: [1, 2]", "pp16 @ d32 needs a batch of 1"),
        (["load: {tests: [tg128, pp]}"], "", "the test 'pp' is unknown"),
        (["slo: [throughput_per_s > 1]"], "", "throughput_per_s is not a metric of language models"),
        (["slo: [accuracy > 50 %]"], "", "accuracy needs labeled rows"),
    ],
)
def test_settings_that_do_not_apply_to_language_models_are_rejected(
    folder: Path, lines: list[str], target: str, problem: str
) -> None:
    (folder / "rows.npz").touch()
    with pytest.raises(ProfileError, match=problem):
        _load(folder, *lines, target=target)


def test_unknown_precision_hint_lists_the_precisions_of_the_model(folder: Path) -> None:
    (folder / "tiny.gguf").touch()
    for model, hint in (
        ("tiny.gguf", "Use one of as-is, int8, int4."),
        ("tiny", "A folder of ONNX Runtime GenAI has the precision of its export. Use as-is."),
        ("digits", "Use one of as-is, fp16, int8-dynamic, int8-static."),
    ):
        with pytest.raises(ProfileError, match="the precision 'Q8_0' is unknown") as caught:
            _load(folder, model=model, target=", precision: Q8_0")
        assert caught.value.hint == hint


def test_generation_tests_require_a_profile_of_only_language_models(folder: Path) -> None:
    with pytest.raises(ProfileError, match="both language models and other models"):
        _load(folder, model=f"[tiny, {DIGITS_MODEL}]")
    with pytest.raises(ProfileError, match=r"load\.tests is only for language models"):
        _load(folder, "load: {tests: tg128}", model="digits")
    assert _load(folder, model="digits").generation_tests == ()


@pytest.mark.parametrize(
    "metric", ["decode_tokens_per_s > 1", "prefill_tokens_per_s > 1", "ttft_ms.p95 < 9", "itl_ms.p95 < 9"]
)
def test_language_model_metrics_are_accepted_in_slos_and_gates(folder: Path, metric: str) -> None:
    profile = _load(folder, f'slo: ["{metric}"]', f'gates: ["{metric} | warn"]')
    assert profile.slo[0].metric == metric.partition(" ")[0].partition(".")[0]
    with pytest.raises(ProfileError, match="is a metric of endpoints"):
        _load(folder, f'slo: ["{metric}"]', model="digits")
