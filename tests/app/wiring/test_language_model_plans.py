from __future__ import annotations

import datetime
from pathlib import Path

import msgspec
import pytest
import yaml

from app.analysis.language_models import load_language_models
from app.errors import UsageError
from app.profiles.loading import load_profile
from app.records.result import Result, ShapePlan
from app.records.traffic import TokenLengths
from app.storage.run_directory import RunWriter
from app.wiring.language_model_plans import build_known_shape_request, build_shape_request, write_serving_profile
from app.wiring.planning import PlanRequest, build_plan_inputs
from tests.fakes import decoders
from tests.fakes.language_model_runs import language_model_run
from tests.fakes.whole_plan import whole_plan

TODAY = datetime.date(2026, 7, 1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _measured_in(folder: Path) -> Result:
    """Return the result of a run of the model in the folder, with a context of 256 tokens."""
    result = language_model_run().result
    assert result.local is not None
    variants = tuple(
        msgspec.structs.replace(
            variant,
            model_file=str(folder),
            language_model=None
            if variant.language_model is None
            else msgspec.structs.replace(variant.language_model, context=256),
        )
        for variant in result.local.variants
    )
    return msgspec.structs.replace(result, local=msgspec.structs.replace(result.local, variants=variants))


def test_serving_profile_of_a_measured_model_stays_within_its_context(tmp_path: Path) -> None:
    decoders.contiguous(tmp_path / "model")
    path = write_serving_profile(_measured_in(tmp_path / "model"))
    profile = load_profile(path)
    assert profile.name == "tiny-decoder-served"
    tree = yaml.safe_load(path.read_text("utf-8"))
    assert tree["target"]["serve"] == {"model": str(tmp_path / "model"), "provider": "cpu", "threads": 1}
    assert tree["workload"]["prompts"] == {"input_tokens": 124, "output_tokens": 3}, "half of the context in total"
    assert tree["load"]["sweep"]["concurrency"][0] == 1


def test_deleted_model_is_neither_served_nor_planned(tmp_path: Path) -> None:
    result = _measured_in(tmp_path / "gone")
    for function in (write_serving_profile, build_shape_request):
        with pytest.raises(UsageError, match="no longer exists"):
            function(result)


def test_plan_request_of_a_known_model_has_traffic_and_slo_of_the_shown_plan() -> None:
    plan = whole_plan()
    traffic = msgspec.structs.replace(plan.traffic, tokens=(TokenLengths(1.0, 900.0, 120.0),))
    plan = msgspec.structs.replace(plan, traffic=traffic, slo=("tpot_ms.p95 < 50",))
    inputs = build_plan_inputs(build_known_shape_request(ShapePlan("Llama 3.1 8B", plan)), TODAY)
    assert inputs.assumed_model is not None
    assert (inputs.assumed_model.name, inputs.assumed_model.model) == (
        "Llama-3.1-8B",
        load_language_models()["llama-3.1-8b"].shape,
    )
    assert [objective.text for objective in inputs.slo] == ["tpot_ms.p95 < 50"]
    assert inputs.traffic.peak_per_s == plan.traffic.peak_per_s
    assert [(length.input, length.output) for length in inputs.traffic.tokens] == [(900.0, 120.0)]
    assert inputs.measured == (), "the plan is not based on measurements"


def test_local_language_model_run_cannot_be_planned_and_the_hint_names_target_serve(home: Path, tmp_path: Path) -> None:
    decoders.contiguous(tmp_path / "model")
    folder = home / "runs" / "llm"
    profile = {"sizewise": 1, "name": "llm", "target": {"model": str(tmp_path / "model")}, "load": {"tests": ["tg16"]}}
    with RunWriter(folder) as writer:
        writer.write_spec(yaml.safe_dump(profile))
        writer.write_result(language_model_run().result)
    with pytest.raises(UsageError, match="without a server") as refused:
        build_plan_inputs(PlanRequest((str(folder),), ("traffic.peak=5/s",)), TODAY)
    assert "target.serve" in (refused.value.hint or "")
