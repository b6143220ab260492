from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from app.errors import UsageError
from app.planning.fleets import plan_fleets
from app.profiles.bundled import DATA_DIRECTORY
from app.records.local import BatchModel
from app.records.planning_inputs import PlanningInputs
from app.records.result import SWEEP_TAG, Estimate, Stage
from app.records.traffic import TokenLengths
from app.storage.own_evidence import store_evidence
from app.wiring.evidence import EvidenceRequest, build_evidence
from app.wiring.planning import NoHardwareError, PlanRequest, build_plan_inputs
from tests.fakes import plan_sources as sources
from tests.fakes import small_plan
from tests.fakes.local_runs import variant
from tests.fakes.offers import TODAY
from tests.fakes.results import full_run

pytestmark = pytest.mark.usefixtures("short_simulations")

LATER = datetime.date(2026, 9, 1)
SLO = ("ttft_ms.p95 < 1000",)
TOKENS = "traffic.tokens={input: 900, output: 120}"
BuildInputs = Callable[..., PlanningInputs]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))


@pytest.fixture
def build_inputs(tmp_path: Path) -> BuildInputs:
    """Return a function that builds the planning inputs of sources by name, which it creates on demand."""
    make: dict[str, Callable[[Path], str]] = {
        "run": sources.endpoint_run,
        "other": lambda path: sources.endpoint_run(path, run_id="other"),
        "local": sources.local_model_run,
        "curve.yaml": lambda path: sources.write_file(path, sources.CURVE),
        "model.yaml": lambda path: sources.write_file(path, sources.MODEL),
        "second.yml": lambda path: sources.write_file(path, sources.MODEL),
        "plan.yaml": lambda path: sources.write_plan_file(path, small_plan.planning_inputs()),
        "nowhere": lambda path: sources.endpoint_run(path, target=replace(full_run().result.target, hardware=None)),
        "no-rate": lambda path: sources.endpoint_run(path, max_rate=None),
        "no-traffic": lambda path: sources.endpoint_run(path, spec=sources.ENDPOINT_SPEC.partition("traffic:")[0]),
        "no-law": lambda path: sources.local_model_run(path, batch_models=()),
        "bad-law": lambda path: sources.local_model_run(path, batch_models=(_build_failed_batch_model(),)),
    }

    def build(*names: str, today: datetime.date = TODAY, **more: Any) -> PlanningInputs:
        plan_sources = tuple(make[name](tmp_path / name) if name in make else name for name in names)
        return build_plan_inputs(PlanRequest(plan_sources, **more), today)

    return build


def _build_failed_batch_model() -> BatchModel:
    unknown = Estimate(None, reason="two batches")
    of = variant(model="other")
    return BatchModel(variant=of, t0_ms=unknown, t1_ms=unknown, r2=None, batches=(1, 16), reason="two are no line")


def test_stored_run_is_planned_with_the_settings_of_its_profile(build_inputs: BuildInputs) -> None:
    question = build_inputs("run")
    (target,) = question.measured
    assert (target.name, target.hardware.vcpus) == ("20260801T091500-quickstart-4f2a", 2)
    assert target.server is not None
    assert target.server.name == "quickstart"
    assert target.validity == "WARN", "the validity of the measurement applies to the plan"
    assert (target.curve.max_rate_per_s, target.curve.latency_metric) == (218.0, "latency_ms.p95")
    assert len(target.curve.points) == 11, "only pooled steps are load points"
    assert (question.traffic.peak_per_s, question.traffic.shape) == (900.0, "workday")
    assert [objective.text for objective in question.slo] == ["latency_ms.p95 < 50", "error_rate < 1%"]
    assert (question.limits.confidence, question.today) == (0.9, TODAY)
    assert question.assumed_model is None


def test_class_objectives_of_a_run_are_planned(tmp_path: Path) -> None:
    classes = '[{name: quick, weight: 1, slo: ["latency_ms.p95 < 30"]}, {name: slow, weight: 1}]'
    spec = (
        sources.ENDPOINT_SPEC.replace("oip", "openai-chat")
        + f"workload: {{prompts: {{input_tokens: 9}}, classes: {classes}}}\n"
    )
    run = sources.endpoint_run(tmp_path / "classes", spec=spec)
    question = build_plan_inputs(PlanRequest((run,)), TODAY)
    assert [(objective.text, objective.request_class) for objective in question.slo][-1] == (
        "latency_ms.p95{class=quick} < 30",
        "quick",
    )


def test_planning_settings_override_the_profile_of_the_run(build_inputs: BuildInputs, tmp_path: Path) -> None:
    question = build_inputs(
        "run",
        overrides=("plan.confidence=95%", "plan.providers=[acme]", "target.hardware.offer=acme/c4", "traffic.peak=5/s"),
        traffic=Path(sources.write_file(tmp_path / "traffic.yaml", "peak: 70/s\nshape: flat\n")),
        slo=("latency_ms.p99 < 80",),
        offers=(Path(sources.write_file(tmp_path / "own.yaml", sources.OFFERS)),),
    )
    assert (question.traffic.peak_per_s, question.traffic.shape) == (5.0, "flat")
    assert [item.text for item in question.slo] == ["latency_ms.p99 < 80"]
    assert (question.limits.confidence, question.limits.providers) == (0.95, ("acme",))
    assert question.measured[0].hardware.offer == "acme/c4@here"
    assert [item.key for item in question.catalog.offers if item.is_customized] == [
        "acme/c4@here",
        "acme/c8@here",
        "own/rack@cellar",
    ]


@pytest.mark.parametrize("source", ["run", "plan.yaml", "no-traffic"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("traffic.yaml", "peak: 70/s\nshape: flat\n"),
        ("nested.yaml", "traffic: {peak: 70/s, shape: flat}\n"),
        ("day.csv", "hour,rate_per_s\n" + "".join(f"{hour},70\n" for hour in range(24))),
        ("trace.csv", "timestamp\n" + "".join(f"{second}\n" for second in range(120))),
    ],
)
def test_overrides_of_traffic_change_the_traffic_of_a_file(
    build_inputs: BuildInputs, tmp_path: Path, source: str, name: str, content: str
) -> None:
    file = Path(sources.write_file(tmp_path / name, content))
    inputs = build_inputs(source, traffic=file, overrides=("traffic.growth=20%/year", "plan.confidence=95%"))
    assert (inputs.traffic.growth_per_year, inputs.limits.confidence) == (0.2, 0.95)
    created = str(tmp_path / source)
    assert inputs.traffic.peak_per_s == build_inputs(created, traffic=file).traffic.peak_per_s
    with pytest.raises(UsageError, match="the key 'grwoth' is unknown in traffic"):
        build_inputs(created, traffic=file, overrides=("traffic.grwoth=20%/year",))


def test_several_runs_are_separate_targets_with_the_settings_of_the_last_endpoint(
    build_inputs: BuildInputs, tmp_path: Path
) -> None:
    small = sources.ENDPOINT_SPEC.replace("900/s", "5/s")
    first = sources.endpoint_run(tmp_path / "first", small, run_id="first")
    question = build_inputs(first, "run", "local")
    assert [target.name.partition(":")[0] for target in question.measured] == [
        "first",
        "20260801T091500-quickstart-4f2a",
        "20261125-103735-digits-here-5f9e",
    ]
    assert question.traffic.peak_per_s == 900.0
    assert [objective.text for objective in question.slo] == ["latency_ms.p95 < 50", "error_rate < 1%"]


def test_local_run_is_planned_as_an_assumed_server(build_inputs: BuildInputs) -> None:
    question = build_inputs("local", overrides=("traffic.peak=900/s",))
    (target,) = question.measured
    assert target.is_assumed
    assert target.name.endswith(": digits cpu as-is, model only")
    assert target.fit is not None
    assert [objective.text for objective in question.slo] == ["service_ms.p99 < 20"]


def test_curve_of_another_tool_is_planned_on_the_declared_hardware(build_inputs: BuildInputs) -> None:
    overrides = ("target.hardware.offer=aws/g6.2xlarge", "traffic.peak=900/s")
    question = build_inputs("curve.yaml", overrides=overrides, slo=("latency_ms.p95 < 23",))
    (target,) = question.measured
    assert (target.hardware.accelerator, target.curve.max_rate_per_s) == ("l4", 20.0)
    assert target.is_assumed


@pytest.mark.parametrize(("name", "overrides", "is_declared"), [
    ("run", (), False),
    ("run", ("target.hardware.offer=aws/g6.2xlarge",), True),
    ("nowhere", ("target.hardware.offer=aws/g6.2xlarge",), True),
])  # fmt: skip
def test_hardware_override_of_a_run_is_marked_as_declared(
    build_inputs: BuildInputs, name: str, overrides: tuple[str, ...], is_declared: bool
) -> None:
    (target,) = build_inputs(name, overrides=overrides).measured
    assert target.is_hardware_declared == is_declared


def test_missing_hardware_and_a_scripted_target_raise_different_errors(
    build_inputs: BuildInputs, tmp_path: Path
) -> None:
    with pytest.raises(NoHardwareError):
        build_inputs("nowhere")
    scripted = sources.ENDPOINT_SPEC.replace('url: "http://127.0.0.1:41837"', "scripted: {delay: 5ms}")
    bare = replace(full_run().result.target, hardware=None)
    run = sources.endpoint_run(tmp_path / "scripted", scripted, target=bare)
    with pytest.raises(UsageError, match="a scripted target cannot be planned") as error:
        build_inputs(run)
    assert not isinstance(error.value, NoHardwareError)


def test_shape_of_a_language_model_is_planned_without_measurements(build_inputs: BuildInputs) -> None:
    question = build_inputs("model.yaml", overrides=("traffic.peak=9/s", TOKENS), slo=SLO)
    assert question.measured == ()
    assert question.assumed_model is not None
    assert (question.assumed_model.name, question.assumed_model.model.layers) == ("small", 32)
    assert question.traffic.tokens == (TokenLengths(1.0, 900.0, 120.0),)


def test_an_alternative_precision_makes_a_requested_accelerator_plannable(build_inputs: BuildInputs) -> None:
    overrides = ("plan.accelerators=a100", "precision={weights: fp8, compute: fp8}", "traffic.peak=9/s", TOKENS)
    with pytest.raises(UsageError, match=r"cannot be planned on a100: .* does not support fp8"):
        build_inputs("model.yaml", overrides=overrides, slo=SLO)
    question = build_inputs("model.yaml", overrides=(*overrides, "alternatives.weights=bf16"), slo=SLO)
    assert question.assumed_model is not None
    assert len(question.assumed_model.served_models) == 2


def test_keys_of_a_language_model_can_be_overridden(build_inputs: BuildInputs) -> None:
    overrides = ("engine.tensor_parallel=4", "precision.weights=fp8", "traffic.peak=9/s", TOKENS)
    question = build_inputs("model.yaml", overrides=overrides, slo=SLO)
    assert question.assumed_model is not None
    assert question.assumed_model.engine.tensor_parallel == 4
    assert question.assumed_model.precision.weights == "fp8"
    with pytest.raises(UsageError, match=r"--set load\.seed does not change a plan$"):
        build_inputs("model.yaml", overrides=(*overrides, "load.seed=3"), slo=SLO)
    with pytest.raises(UsageError, match="tensor_parallel"):
        build_inputs("model.yaml", overrides=("engine.tensor_parallel=0", *overrides[1:]), slo=SLO)


def test_language_model_is_planned_by_name_without_a_source(build_inputs: BuildInputs) -> None:
    overrides = ("precision.weights=fp8", "traffic.peak=9/s", TOKENS)
    question = build_inputs(overrides=overrides, slo=SLO, model="Llama-3.1-8B")
    assert question.assumed_model is not None
    assert question.assumed_model.name == "Llama-3.1-8B"
    assert question.assumed_model.precision.weights == "fp8"
    for source in ("model.yaml", "plan.yaml"):
        with pytest.raises(UsageError, match=r"only one language model|cannot be combined"):
            build_inputs(source, overrides=overrides, slo=SLO, model="llama-3.1-8b")


@pytest.mark.parametrize(
    ("overrides", "slo", "message"),
    [
        (("traffic.peak=9/s", TOKENS), (), "has no SLO"),
        (("traffic.peak=9/s",), SLO, "has no token lengths"),
        (("traffic.peak=9/s", "traffic.tokens={input: 7900, output: 300}"), SLO, "context of small, 8,192 tokens"),
    ],
)
def test_language_model_needs_an_slo_and_lengths_within_its_context(
    build_inputs: BuildInputs, overrides: tuple[str, ...], slo: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_inputs("model.yaml", overrides=("language_model.context_tokens=8192", *overrides), slo=slo)


@pytest.mark.parametrize(
    ("gpus", "precision", "reason"),
    [("a100", "fp8", "does not support fp8"), ("t4,v100", "bf16", "does not support bf16")],
)
def test_accelerators_without_the_precision_or_figures_are_refused(
    build_inputs: BuildInputs, gpus: str, precision: str, reason: str
) -> None:
    base = ("traffic.peak=9/s", TOKENS, f"precision.compute={precision}")
    with pytest.raises(UsageError, match=reason):
        build_inputs(overrides=(*base, f"plan.accelerators={gpus}"), slo=SLO, model="llama-3.1-8b")
    assert build_inputs(overrides=(*base, f"plan.accelerators={gpus},h100"), slo=SLO, model="llama-3.1-8b")


def test_lengths_beyond_the_context_are_refused_for_a_plan_file_too(build_inputs: BuildInputs, tmp_path: Path) -> None:
    inputs = build_inputs(overrides=("traffic.peak=9/s", TOKENS), slo=SLO, model="llama-3-8b")
    file = sources.write_plan_file(tmp_path / "llama.yaml", inputs)
    assert build_inputs(file).assumed_model == inputs.assumed_model
    with pytest.raises(UsageError, match="context of llama-3-8b, 8,192 tokens"):
        build_inputs(file, overrides=("traffic.tokens={input: 8000, output: 300}",))


def test_plan_file_retains_its_date_and_catalog_without_a_price_list(build_inputs: BuildInputs, tmp_path: Path) -> None:
    assert build_inputs("plan.yaml", today=LATER) == small_plan.planning_inputs()
    assert build_inputs("plan.yaml", planned_on=LATER) == replace(small_plan.planning_inputs(), today=LATER)
    assert build_inputs("run", planned_on=LATER).today == LATER
    own = Path(sources.write_file(tmp_path / "own.yaml", sources.OFFERS))
    renewed = build_inputs("plan.yaml", today=LATER, offers=(own,))
    assert renewed.today == LATER
    assert "acme/c8@here" in {candidate.key for candidate in renewed.catalog.offers}
    assert replace(renewed, today=TODAY, catalog=small_plan.planning_inputs().catalog) == small_plan.planning_inputs()


def test_overrides_of_a_plan_file_change_only_the_named_settings(build_inputs: BuildInputs, tmp_path: Path) -> None:
    question = build_inputs(
        "plan.yaml",
        overrides=("plan.redundancy=n+2", "traffic.growth=20%/year"),
        traffic=Path(sources.write_file(tmp_path / "traffic.yaml", "peak: 70/s\n")),
        slo=("latency_ms.p99 < 80",),
    )
    before = small_plan.planning_inputs()
    assert question.limits == replace(before.limits, redundancy=2)
    assert (question.traffic.peak_per_s, question.traffic.growth_per_year) == (70.0, 0.2)
    assert [objective.text for objective in question.slo] == ["latency_ms.p99 < 80"]
    assert (question.measured, question.catalog, question.today) == (before.measured, before.catalog, TODAY)


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        (["plan.yaml", "run"], {}, "cannot be combined with other sources"),
        (["run", "plan.yaml"], {}, "cannot be combined with other sources"),
        (["plan.yaml"], {"overrides": ("target.hardware.vcpus=4",)}, "target.hardware.vcpus is not an input of a plan"),
        (["model.yaml", "second.yml"], {}, "only one language model"),
        (["model.yaml"], {"overrides": ("traffic.peak=9/s", TOKENS)}, "has no SLO"),
        (["model.yaml"], {"overrides": ("traffic.peak=9/s",), "slo": SLO}, "has no token lengths"),
        (
            ["model.yaml"],
            {"overrides": ("traffic.peak=9/s", TOKENS, "target.hardware.accelerator=l4"), "slo": SLO},
            "--set target.hardware does not change this plan",
        ),
        (["no-traffic"], {}, "the plan has no traffic"),
        (["run"], {"overrides": ("load.seed=3",)}, "--set load.seed does not change a plan"),
        (["run"], {"overrides": ("target.hardwareoffer=3",)}, "does not change a plan"),
        (["run"], {"overrides": ("plan.regoins=[here]",)}, "the key 'regoins' is unknown in plan"),
        (["nowhere"], {}, "hardware is unknown"),
        (["no-rate"], {}, "has no rate that met its SLO"),
        (["no-law"], {"overrides": ("traffic.peak=9/s",)}, "no-law has no variant that can be planned$"),
        (["bad-law"], {"overrides": ("traffic.peak=9/s",)}, r"\(.*: two are no line\)"),
        (["curve.yaml"], {"overrides": ("traffic.peak=9/s",)}, "hardware is unknown"),
        (["curve.yaml"], {"overrides": ("traffic.peak=9/s", "target.hardware.vcpus=4")}, "the plan has no SLO"),
        (["curve.yaml"], {"overrides": ("target.hardware.offer=aws/g6.2xlrge",)}, "'aws/g6.2xlrge' is unknown"),
        (["none"], {}, "no run matches 'none'"),
        (["run"], {"slo": ("latency_ms.p95 under 50",)}, "not a valid objective"),
        (["run"], {"traffic": Path("none.yaml")}, "none.yaml: No such file"),
        (["run"], {"offers": (Path("none.yaml"),)}, "none.yaml: No such file"),
    ],
)  # fmt: skip
def test_invalid_or_incomplete_plan_sources_are_rejected(
    build_inputs: BuildInputs, names: list[str], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_inputs(*names, **more)


def test_concurrency_sweep_is_planned_from_the_stages_that_met_the_slo(tmp_path: Path) -> None:
    path = sources.endpoint_run(tmp_path / "sweep", stages=client_stages(), max_rate=None)
    (target,) = build_plan_inputs(PlanRequest((path,)), TODAY).measured
    assert target.curve.max_rate_per_s == 80.0
    assert [point.clients for point in target.load_points] == [1, 4, 8]


def client_stages() -> tuple[Stage, ...]:
    """Return stages of a server that meets p95 < 50 ms with up to four concurrent requests."""
    loaded = next(stage for stage in full_run().result.stages if stage.kind == "step")
    return tuple(
        replace(
            loaded,
            name=f"sweep {clients} clients",
            kind="closed",
            tags={SWEEP_TAG: "yes"},
            scheduled_per_s=None,
            concurrency=clients,
            arrival_kind="closed",
            metrics=loaded.metrics
            | {
                "latency_ms": {"p95": Estimate(latency_ms), "p50": Estimate(0.9 * latency_ms)},
                "completed_per_s": {"value": Estimate(rate)},
            },
        )
        for clients, rate, latency_ms in ((1, 22.0, 41.0), (4, 80.0, 48.0), (8, 90.0, 85.0))
    )


def test_own_measurements_of_the_model_calibrate_its_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    vllm_result = str(DATA_DIRECTORY / "examples" / "vllm-before.json")
    for model in ("llama-3.1-8b", "qwen3-8b"):
        request = EvidenceRequest(source=vllm_result, engine="vllm", precision="bf16", model=model, accelerator="l40s")
        store_evidence(build_evidence(request, TODAY))
    request_of_plan = PlanRequest(
        (),
        ("traffic.peak=20/s", "traffic.tokens={input: 1000, output: 270}", "plan.accelerators=[l40s]"),
        slo=("tpot_ms.p95 < 40",),
        model="llama-3.1-8b",
    )
    plan_inputs = build_plan_inputs(request_of_plan, TODAY)
    assert [evidence.served.model for evidence in plan_inputs.own_evidence] == ["llama-3.1-8b"]
    plan = plan_fleets(plan_inputs, estimate_only=True)
    plain = plan_fleets(replace(plan_inputs, own_evidence=()), estimate_only=True)
    assert (plan.own_points, plain.own_points) == (1, 0)
    spread, plain_spread = (
        planned.recommendation.fleet.instances_needed for planned in (plan, plain) if planned.recommendation is not None
    )
    assert spread is not None
    assert plain_spread is not None
    assert spread.p90 / spread.p10 <= plain_spread.p90 / plain_spread.p10
