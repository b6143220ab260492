from __future__ import annotations

import pytest

from app.errors import ProfileError
from app.profiles.scaling import AUTOSCALERS, build_autoscaler, build_operations, load_day_settings
from app.records.scaling import (
    DEFAULT_SCALE_DOWN,
    DEFAULT_SCALE_UP,
    Autoscaler,
    ColdStartModel,
    FailureModel,
    Fixed,
    Hpa,
    Keda,
    Knative,
    Operations,
    PlannedReplica,
    Predictive,
    RatePolicy,
    RollingUpdate,
    ScalingRules,
    Scheduled,
    ScheduledReplicas,
)


def operations(*overrides: str, per_instance: int = 1) -> Operations:
    return build_operations(load_day_settings("none", overrides), per_instance)


def test_default_cold_start_has_all_phases() -> None:
    start = operations().cold_start
    assert (start.node_s, start.engine_s, start.warm_up_s, start.cv, start.warm_nodes) == (90, 15, 5, 0.3, 0)
    assert (start.image.median_s, start.weights.median_s) == (10, 4)
    assert operations().failures is None
    assert operations().updates == ()


def test_cold_start_sizes_are_divided_by_the_slowest_link() -> None:
    start = operations(
        "cold_start.image=30s", "cold_start.weights=16GB", "cold_start.network=10Gbit/s", "cold_start.disk=2GB/s",
        "cold_start.pcie=1GiB/s", "cold_start.build=2m",
    ).cold_start  # fmt: skip
    assert start.image.median_s == 30
    assert start.weights.median_s == pytest.approx(16e9 / 2**30)
    assert start.median_s == pytest.approx(90 + 30 + 16e9 / 2**30 + 120 + 5)


def test_every_cold_start_phase_can_be_set() -> None:
    keys = ("node", "image", "weights", "build", "warm_up")
    start = operations(*(f"cold_start.{key}={number}s" for number, key in enumerate(keys, 1))).cold_start
    assert start.median_s == pytest.approx(1 + 2 + 3 + 4 + 5)
    assert (start.node_s, start.engine_s, start.warm_up_s) == (1, 4, 5)


def test_failures_updates_and_warm_pool_are_applied() -> None:
    configured = operations(
        "failures.mtbf=30d", "failures.detect=1m", "failures.new_node=true", "update.at=10:30", "update.surge=10%",
        "warm_pool=2", "drain=1m", "cold_start.refusal_probability=20%", "cold_start.retry=5m", per_instance=4,
    )  # fmt: skip
    assert configured.failures == FailureModel(720, 60, True)
    assert configured.updates == (RollingUpdate(37_800, 0.1, 0.25),)
    assert configured.drain_s == 60
    start: ColdStartModel = configured.cold_start
    assert (start.warm_nodes, start.refusal_probability, start.retry_s) == (8, 0.2, 300)


@pytest.mark.parametrize(
    ("override", "message", "hint"),
    [
        ("cold_start.image=8", "8 is neither a size nor a duration", "Use a value such as 8GB or 40s."),
        ("cold_start.network=5Gbit", "the unit 'Gbit' is unknown", "Did you mean 'Gbit/s'?"),
        ("cold_start.network=0MB/s", "'0MB/s' must be above zero", None),
        ("cold_start.refusal_probability=100%", "cold_start.refusal_probability must be less than 1", None),
        ("cold_start.wieghts=8GB", "the key 'wieghts' is unknown in cold_start", "Did you mean 'weights'?"),
        ("failures.mtbf=0s", "failures.mtbf must be greater than 0", None),
        ("failures.detect=5s", "failures is missing the key mtbf", None),
        ("update.surge=10%", "update is missing the key at", None),
        ("update.at=25:00", "'25:00' is not a time of day", 'Use a value such as "12:00".'),
    ],
)
def test_invalid_cold_start_overrides_are_reported_with_a_hint(override: str, message: str, hint: str | None) -> None:
    with pytest.raises(ProfileError) as caught:
        operations(override)
    assert message in str(caught.value)
    assert caught.value.hint == hint


PLANNED = PlannedReplica(replicas=12, per_s=9.0, utilization=0.6, in_flight=2.0, by_hour=(2,) * 8 + (12,) * 16)


def autoscaler(name: str, *overrides: str) -> Autoscaler:
    settings = load_day_settings(name, [f"autoscaler.{override}" for override in overrides])
    return build_autoscaler(settings.autoscaler, PLANNED, cold_start_s=124.0)


def test_default_autoscalers_have_the_target_and_bounds_of_the_plan() -> None:
    assert autoscaler("none") == Fixed(12)
    assert autoscaler("hpa") == Hpa(0.6, 12)
    assert autoscaler("keda") == Keda(2.0, 12)
    assert autoscaler("knative") == Knative(capacity=2.0 / 0.7, max=12)
    assert autoscaler("kserve") == Knative(capacity=2.0 / 0.7, max=12, min=1)
    assert autoscaler("predictive") == Predictive(9.0, 124.0, 12)
    table = autoscaler("schedule")
    assert isinstance(table, Scheduled)
    assert [row.replicas for row in table.table] == list(PLANNED.by_hour)
    assert table.table[9].at_s == 9 * 3600


@pytest.mark.parametrize(
    ("target", "metric", "value"), [("70%", "busy", 0.7), ("12/s", "rate", 12.0), ("120/min", "rate", 2.0)]
)
def test_unit_of_the_autoscaler_target_determines_its_metric(target: str, metric: str, value: float) -> None:
    hpa = autoscaler("hpa", f"target={target}")
    assert isinstance(hpa, Hpa)
    assert (hpa.metric, hpa.target) == (metric, value)


def test_autoscaler_metric_without_a_target_uses_the_planned_value() -> None:
    assert autoscaler("hpa", "metric=rate") == Hpa(9.0, 12, "rate")
    assert autoscaler("hpa", "metric=in-flight") == Hpa(2.0, 12, "in_flight")
    assert autoscaler("hpa", "metric=in-flight", "target=4") == Hpa(4.0, 12, "in_flight")
    assert autoscaler("keda", "target=4", "min=1", "max=30") == Keda(4.0, 30, min=1)
    assert autoscaler("knative", "target=7/s") == Knative(capacity=7.0, metric="rate", max=12)
    assert autoscaler("kserve", "utilization=50%") == Knative(capacity=4.0, utilization=0.5, max=12, min=1)


def test_scaling_rules_default_to_those_of_kubernetes() -> None:
    changed = autoscaler("hpa", "up.pods=2", "up.period=1m", "down.percent=10%", "down.stabilization=1m")
    assert isinstance(changed, Hpa)
    assert changed.up == ScalingRules(0.0, (RatePolicy("percent", 100.0, 60.0), RatePolicy("pods", 2, 60.0)))
    assert changed.down == ScalingRules(60.0, (RatePolicy("percent", 10.0),))
    plain = autoscaler("hpa")
    assert isinstance(plain, Hpa)
    assert (plain.up, plain.down) == (DEFAULT_SCALE_UP, DEFAULT_SCALE_DOWN)
    never = autoscaler("hpa", "down.percent=null")
    assert isinstance(never, Hpa)
    assert never.down.select == "disabled"


def test_schedule_is_a_table_sorted_by_time() -> None:
    assert autoscaler("schedule", "table={20:00: 4, 08:30: 12}") == Scheduled(
        (ScheduledReplicas(30_600, 12), ScheduledReplicas(72_000, 4))
    )


def test_day_settings_have_their_own_timeout_queue_limit_and_router() -> None:
    day = load_day_settings("none", ["timeout=500ms", "queue_limit=20", "router=power-of-two"])
    assert (day.timeout_s, day.queue_limit, day.router) == (0.5, 20, "power-of-two")
    assert load_day_settings("none", []).router is None


@pytest.mark.parametrize(
    ("name", "override", "message", "hint"),
    [
        ("hpa", "autoscaler.mni=2", "the key 'mni' is unknown in autoscaler", "Did you mean 'min'?"),
        ("hpa", "autoscalar.min=2", "the key 'autoscalar' is unknown", "Did you mean 'autoscaler'?"),
        ("hpa", "autoscaler.target=70", "target does not match the metric busy", "target=70%"),
        ("hpa", "autoscaler.target=0%", "must be above zero", None),
        ("hpa", "autoscaler.target=soon", "'soon' is not a valid target", "Write 70% for utilization"),
        ("hpa", "autoscaler.metric=cpu", "the metric 'cpu' is unknown", "busy, in-flight, rate"),
        ("hpa", "autoscaler.min=0", "0 must be a whole number of at least 1", None),
        ("keda", "autoscaler.target=70%", "target does not match the metric in_flight", "12/s"),
        ("hpa", "autoscaler.max=200000", "200,000 exceeds the maximum of 100,000", None),
        ("predictive", "autoscaler.target=5", "no unit", "200/s"),
        ("schedule", "autoscaler.table={noon: 4}", "'noon' is not a time of day", None),
        ("none", "autoscaler.min=2", "no autoscaler is selected", "--autoscaler to one of hpa, keda"),
        ("none", "router=p2c", "router must be", None),
        ("none", "timeout=30", "30 has no unit", "30s"),
        ("none", "nothing", "key.key=value", None),
    ],
)
def test_invalid_autoscaler_overrides_are_reported_with_a_hint(
    name: str, override: str, message: str, hint: str | None
) -> None:
    with pytest.raises(ProfileError) as caught:
        load_day_settings(name, [override])
    assert message in str(caught.value)
    assert hint is None or hint in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["hpa", "keda", "knative", "predictive"])
def test_autoscaler_max_below_min_is_rejected(name: str) -> None:
    with pytest.raises(ProfileError, match="max is 2, which is below min of 3"):
        load_day_settings(name, ["autoscaler.min=3", "autoscaler.max=2"])


def test_autoscaler_max_is_at_least_min() -> None:
    planned = autoscaler("hpa", "min=20")
    assert isinstance(planned, Hpa)
    assert planned.max == 20


@pytest.mark.parametrize("name", AUTOSCALERS)
def test_each_autoscaler_can_be_selected(name: str) -> None:
    assert load_day_settings(name, []).autoscaler is not None
