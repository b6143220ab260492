from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from app.errors import UsageError
from app.planning.exports.kubernetes import build_kubernetes_manifests
from app.planning.exports.names import dump_yaml
from app.planning.exports.settings import Autoscaler, ExportSettings
from app.records.plan import Mix, MixPart, Plan
from app.records.server import MeasuredServer
from tests.app.planning.exports.manifest_schemas import check
from tests.app.planning.exports.planned import (
    comments,
    documents,
    fleet_of,
    planned,
    planned_on_cards,
    pods_of,
    simulated,
    with_fleet,
    without_recommendation,
)
from tests.fakes.offers import offer
from tests.tiers import first_in_unit_tier

AUTOSCALERS: tuple[Autoscaler, ...] = ("none", "hpa", "keda", "scheduled")
PLANS: dict[str, Callable[[], Plan]] = {
    "cpu": planned,
    "cpu without spare": partial(planned, redundancy=0),
    "card": planned_on_cards,
    "flat": partial(planned, hourly_share=(1.0,) * 24),
    "one instance": partial(planned, peak_per_s=1.0, redundancy=0),
    "shared card": partial(planned_on_cards, replicas=4),
}
FULL = ExportSettings(
    name="Fraud scoring", namespace="ml", image="registry.example/fraud:1", port=9000, instance_memory_gib=32.0,
    metric_name="rps", metric_query="sum(rate(http_requests_total[1m]))", prometheus_url="http://prom:9090",
    timezone="Europe/Berlin", ready_path="/ready",
)  # fmt: skip

SETTINGS = {"full": FULL, "defaults": ExportSettings()}


def exported(plan: Plan, autoscaler: Autoscaler = "none", **changes: Any) -> dict[str, Any]:
    return documents(build_kubernetes_manifests(plan, msgspec.structs.replace(FULL, autoscaler=autoscaler, **changes)))


def container(documents: dict[str, Any]) -> dict[str, Any]:
    only: dict[str, Any] = documents["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    return only


_REPRESENTATIVES = [
    *(("cpu", autoscaler, settings) for autoscaler in AUTOSCALERS for settings in ("full", "defaults")),
    *((plan, "keda", "full") for plan in PLANS if plan != "cpu"),
]
_OTHERS = [manifest for manifest in itertools.product(PLANS, AUTOSCALERS, SETTINGS) if manifest not in _REPRESENTATIVES]


@pytest.mark.parametrize(
    "manifest", first_in_unit_tier([*_REPRESENTATIVES, *_OTHERS], len(_REPRESENTATIVES)), ids=", ".join
)
def test_a_cluster_would_take_it(manifest: tuple[str, Autoscaler, str]) -> None:
    plan, autoscaler, settings = manifest
    text = build_kubernetes_manifests(PLANS[plan](), msgspec.structs.replace(SETTINGS[settings], autoscaler=autoscaler))
    found = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    assert len(found) == (3 if autoscaler == "none" else 4)
    for document in found:
        check(document)
    assert "&id" not in text


def spoil(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """The manifest of that kind with one thing wrong."""
    kind, *keys, last = path
    autoscaler: Autoscaler = "keda" if kind == "ScaledObject" else "hpa"
    document: dict[str, Any] = copy.deepcopy(exported(PLANS["card"](), autoscaler)[str(kind)])
    place: Any = document
    for key in keys:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


POD = ("Deployment", "spec", "template", "spec")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("Deployment", "spec", "selector"), None),
        (("Deployment", "spec", "replicas"), "four"),
        (("Deployment", "spec", "strategy", "rollingUpdates"), {}),
        ((*POD, "containers", 0, "name"), None),
        ((*POD, "containers", 0, "resources", "request"), {}),
        ((*POD, "containers", 0, "readinessProbe", "httpGet", "port"), None),
        ((*POD, "nodeSelector", "node.kubernetes.io/instance-type"), 4),
        ((*POD, "topologySpreadConstraints", 0, "maxSkew"), None),
        (("Service", "spec", "ports", 0, "port"), None),
        (("PodDisruptionBudget", "spec", "maxUnavailable"), [1]),
        (("HorizontalPodAutoscaler", "spec", "maxReplicas"), None),
        (("HorizontalPodAutoscaler", "spec", "metrics", 0, "pods", "target"), None),
        (("ScaledObject", "spec", "triggers"), []),
        (("ScaledObject", "spec", "triggers", 0, "metadata", "threshold"), 52.08),
        (("ScaledObject", "spec", "triggers", 0, "metadata", "query"), None),
        (("ScaledObject", "spec", "minReplicas"), 1),
        (("ScaledObject", "spec", "minReplicaCount"), 10_000),
        (("ScaledObject", "metadata", "name"), "Fraud scoring"),
    ],
)
def test_what_a_cluster_would_refuse_is_seen_by_these_tests(path: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(spoil(path, value))


@pytest.mark.parametrize("name", PLANS)
def test_it_says_what_the_plan_says(name: str) -> None:
    plan = PLANS[name]()
    fleet, pods = fleet_of(plan), pods_of(plan)
    spare = (fleet.spare_instances or 0) * (fleet.replicas_per_instance or 0)
    assert exported(plan)["Deployment"]["spec"]["replicas"] == pods
    scaler = exported(plan, "hpa")["HorizontalPodAutoscaler"]["spec"]
    assert scaler["maxReplicas"] == pods
    assert spare < scaler["minReplicas"] <= pods
    keda = exported(plan, "keda")["ScaledObject"]["spec"]
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (scaler["minReplicas"], pods)
    assert keda["fallback"]["replicas"] == pods
    assert keda["triggers"][0]["metadata"]["threshold"] == scaler["metrics"][0]["pods"]["target"]["averageValue"]
    clock = exported(plan, "scheduled")["ScaledObject"]["spec"]
    assert max(int(trigger["metadata"]["desiredReplicas"]) for trigger in clock["triggers"]) == pods


def test_the_target_is_the_planned_rate_and_keda_adds_the_spares() -> None:
    plan = PLANS["cpu"]()
    fleet = fleet_of(plan)
    assert fleet.planned_rate_per_replica_per_s is not None
    trigger = exported(plan, "keda")["ScaledObject"]["spec"]["triggers"][0]["metadata"]
    target = float(trigger["threshold"])
    assert 0.999 * fleet.planned_rate_per_replica_per_s <= target <= fleet.planned_rate_per_replica_per_s
    assert trigger["query"].endswith(f" ) + 16 * {trigger['threshold']}")
    assert pods_of(plan) - 16 < plan.traffic.peak_per_s / target + 16 <= pods_of(plan)
    assert "without the 16 spare" in build_kubernetes_manifests(plan, msgspec.structs.replace(FULL, autoscaler="hpa"))


@pytest.mark.parametrize("autoscaler", AUTOSCALERS[1:])
def test_only_one_of_them_sets_the_replicas(autoscaler: Autoscaler) -> None:
    documents = exported(PLANS["cpu"](), autoscaler)
    assert "replicas" not in documents["Deployment"]["spec"]
    scaler = documents.get("HorizontalPodAutoscaler") or documents["ScaledObject"]
    reference = scaler["spec"]["scaleTargetRef"]
    assert reference == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "fraud-scoring"}


@pytest.mark.parametrize("autoscaler", AUTOSCALERS)
def test_all_its_parts_find_each_other(autoscaler: Autoscaler) -> None:
    documents = exported(PLANS["cpu"](), autoscaler)
    pod = documents["Deployment"]["spec"]["template"]
    for selector in (
        documents["Deployment"]["spec"]["selector"]["matchLabels"],
        documents["Service"]["spec"]["selector"],
        documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ):
        assert selector == pod["metadata"]["labels"]
    assert documents["Service"]["spec"]["ports"][0]["targetPort"] == container(documents)["ports"][0]["name"]
    assert container(documents)["ports"][0]["containerPort"] == 9000
    assert {one["metadata"]["namespace"] for one in documents.values()} == {"ml"}
    assert {one["metadata"]["name"] for one in documents.values()} == {"fraud-scoring"}


def test_a_rollout_and_a_drain_take_no_more_than_a_spare_instance() -> None:
    documents, each = exported(PLANS["cpu"]()), fleet_of(PLANS["cpu"]()).replicas_per_instance
    assert documents["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": each, "maxSurge": 0}
    assert documents["PodDisruptionBudget"]["spec"]["maxUnavailable"] == each


def test_a_rollout_takes_as_many_instances_as_are_planned_for_it() -> None:
    plan = planned(redundancy=1, max_unavailable=2)
    each = fleet_of(plan).replicas_per_instance or 0
    rollout = exported(plan)["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert rollout == {"maxUnavailable": 2 * each, "maxSurge": 0}
    assert "spares for failures" not in comments(build_kubernetes_manifests(plan, FULL))
    assert "plan.max_unavailable=1" in comments(build_kubernetes_manifests(PLANS["cpu"](), FULL))


def test_a_measured_server_is_deployed_under_its_name_and_asked_at_its_paths() -> None:
    server = MeasuredServer("Fraud scoring", 8000, "/v2/health/ready", None, "/v2/health/live")
    plan = msgspec.structs.replace(PLANS["card"](), server=server)
    text = build_kubernetes_manifests(plan, ExportSettings(image="registry.example/fraud:1"))
    by_kind = documents(text)
    for document in by_kind.values():
        check(document)
        assert document["metadata"]["name"] == "fraud-scoring"
    served = container(by_kind)
    assert served["ports"][0]["containerPort"] == 8000
    assert served["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 8000}
    assert served["startupProbe"]["httpGet"] == served["readinessProbe"]["httpGet"]
    assert served["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": 8000}
    assert "Fill in" not in text
    assert "8000 is the port of the measured URL" in comments(text)


def test_requests_and_limits_are_set_for_cpu_memory_and_gpu() -> None:
    plan = with_fleet(PLANS["card"](), memory_gib=32.0)
    resources = container(documents(build_kubernetes_manifests(plan, ExportSettings())))["resources"]
    assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory", "nvidia.com/gpu"}


def test_a_server_whose_readiness_is_not_known_has_no_probe_and_says_so() -> None:
    plan = msgspec.structs.replace(PLANS["cpu"](), server=MeasuredServer("fraud", 8000))
    text = build_kubernetes_manifests(plan, ExportSettings(image="registry.example/fraud:1"))
    assert not [key for key in container(documents(text)) if key.endswith("Probe")]
    fill_in = comments(text).partition("Fill in:")[2].partition("Note:")[0]
    assert "readinessProbe: " in fill_in


def test_without_a_spare_nothing_may_be_missing_and_zones_are_not_asked_for() -> None:
    documents = exported(PLANS["cpu without spare"]())
    assert documents["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert documents["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert "topologySpreadConstraints" not in documents["Deployment"]["spec"]["template"]["spec"]
    assert "No spare is planned" in comments(build_kubernetes_manifests(PLANS["cpu without spare"](), FULL))


def test_the_head_reports_what_it_rests_on_and_what_to_fill_in() -> None:
    plan = simulated(PLANS["cpu"]())
    head = comments(build_kubernetes_manifests(plan, ExportSettings(autoscaler="keda")))
    assert plan.recommendation is not None
    assert plan.recommendation.sentence in head
    for reported in ("plan of 2026-08-01", "P(SLO met) at the peak, without spares: 93.4 %", "over 99.9 %",
                 "extrapolated",
                 "the simulation", "based on the measurement of a bench", "latency_ms.p95 < 50",
                 "REPLACE-ME/your-server:tag", "8080", "readinessProbe: ", "REPLACE_ME_requests_total"):  # fmt: skip
        assert reported in head
    unknown = with_fleet(PLANS["cpu"](), slo_probabilities=None)
    assert "was not simulated. The fleet is sized for 90 % confidence" in comments(
        build_kubernetes_manifests(unknown, FULL)
    )


def test_what_was_given_is_not_to_be_filled_in() -> None:
    for autoscaler in AUTOSCALERS:
        text = build_kubernetes_manifests(PLANS["cpu"](), msgspec.structs.replace(FULL, autoscaler=autoscaler))
        assert "Fill in" not in text
        assert not re.search("replace.me", text, re.IGNORECASE)


def test_every_stand_in_of_the_text_is_reported_at_its_head() -> None:
    for autoscaler in AUTOSCALERS:
        text = build_kubernetes_manifests(PLANS["cpu"](), ExportSettings(autoscaler=autoscaler))
        used = set(re.findall(r"\S*replace.me\S*", text.partition("\n---")[2], re.IGNORECASE))
        assert used
        assert all(stand_in in comments(text) for stand_in in used)


def test_a_router_that_a_service_is_not_is_reported() -> None:
    assert "least outstanding" in build_kubernetes_manifests(
        msgspec.structs.replace(PLANS["cpu"](), router="least outstanding"), FULL
    )
    assert "router" not in build_kubernetes_manifests(msgspec.structs.replace(PLANS["cpu"](), router="random"), FULL)
    mixed = msgspec.structs.replace(PLANS["cpu"](), mix=Mix((MixPart("a", 1), MixPart("b", 2)), 10.0, "a mix"))
    assert "found a mix" in comments(build_kubernetes_manifests(mixed, FULL))


HOSTILE = "evil\n---\nkind: Secret\r\x85\u2028# x: &a {{ \x00\x1b[31m \u202e *b !!python/object:os.system '\""


def test_untrusted_text_stays_what_it_is() -> None:
    plan = planned(offer(source=HOSTILE, instance_type=HOSTILE, provider=HOSTILE))
    plan = with_fleet(plan, risk_reasons=(HOSTILE,), measured_on=HOSTILE)
    plan = msgspec.structs.replace(plan, slo=(HOSTILE,), router=HOSTILE)
    settings = ExportSettings(
        name=HOSTILE, image=HOSTILE, ready_path=HOSTILE, prometheus_url=HOSTILE, metric_query=HOSTILE, autoscaler="keda"
    )
    text = build_kubernetes_manifests(plan, settings)
    found = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    assert [document["kind"] for document in found] == ["Deployment", "Service", "PodDisruptionBudget", "ScaledObject"]
    for document in found:
        check(document)
    by_kind = documents(text)
    assert container(by_kind)["image"] == HOSTILE
    assert by_kind["ScaledObject"]["spec"]["triggers"][0]["metadata"]["query"].startswith(f"( {HOSTILE} ) + ")
    assert "nodeSelector" not in by_kind["Deployment"]["spec"]["template"]["spec"]
    head = text.partition("\n---")[0]
    assert all(line.startswith("#") for line in re.split("[\n\r\x85\u2028\u2029]", head))


def test_numbers_that_are_text_are_text_to_every_reader() -> None:
    for text in ("1e3", "0o7", "1_000", "12e5", "0x1F", ".5", "-1", "+1", "~", "", "null", "on", "1:20"):
        written = dump_yaml([], [{"value": text}])
        assert re.search(r"value: ['\"]", written), written
        assert yaml.safe_load(written) == {"value": text}


def test_a_plan_without_a_recommendation_is_refused() -> None:
    with pytest.raises(UsageError, match=r"recommends no fleet.*No instance type qualifies: too dear"):
        build_kubernetes_manifests(without_recommendation(PLANS["cpu"]()), FULL)
