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
from tests.app.planning.exports.manifest_schemas import validate_manifest
from tests.app.planning.exports.planned import (
    add_simulation,
    build_gpu_plan,
    build_plan,
    count_pods,
    get_comments,
    get_fleet,
    parse_documents,
    with_fleet,
    without_recommendation,
)
from tests.fakes.offers import offer
from tests.tiers import first_in_unit_tier

AUTOSCALERS: tuple[Autoscaler, ...] = ("none", "hpa", "keda", "scheduled")
PLANS: dict[str, Callable[[], Plan]] = {
    "cpu": build_plan,
    "cpu without spare": partial(build_plan, redundancy=0),
    "card": build_gpu_plan,
    "flat": partial(build_plan, hourly_share=(1.0,) * 24),
    "one instance": partial(build_plan, peak_per_s=1.0, redundancy=0),
    "shared card": partial(build_gpu_plan, replicas=4),
}
FULL = ExportSettings(
    name="Fraud scoring", namespace="ml", image="registry.example/fraud:1", port=9000, instance_memory_gib=32.0,
    metric_name="rps", metric_query="sum(rate(http_requests_total[1m]))", prometheus_url="http://prom:9090",
    timezone="Europe/Berlin", ready_path="/ready",
)  # fmt: skip

SETTINGS = {"full": FULL, "defaults": ExportSettings()}


def export_documents(plan: Plan, autoscaler: Autoscaler = "none", **changes: Any) -> dict[str, Any]:
    return parse_documents(
        build_kubernetes_manifests(plan, msgspec.structs.replace(FULL, autoscaler=autoscaler, **changes))
    )


def get_container(documents: dict[str, Any]) -> dict[str, Any]:
    first_container: dict[str, Any] = documents["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    return first_container


_REPRESENTATIVES = [
    *(("cpu", autoscaler, settings) for autoscaler in AUTOSCALERS for settings in ("full", "defaults")),
    *((plan, "keda", "full") for plan in PLANS if plan != "cpu"),
]
_OTHER_MANIFESTS = [
    manifest for manifest in itertools.product(PLANS, AUTOSCALERS, SETTINGS) if manifest not in _REPRESENTATIVES
]


@pytest.mark.parametrize(
    "manifest", first_in_unit_tier([*_REPRESENTATIVES, *_OTHER_MANIFESTS], len(_REPRESENTATIVES)), ids=", ".join
)
def test_kubernetes_manifests_are_valid(manifest: tuple[str, Autoscaler, str]) -> None:
    plan, autoscaler, settings = manifest
    text = build_kubernetes_manifests(PLANS[plan](), msgspec.structs.replace(SETTINGS[settings], autoscaler=autoscaler))
    manifests = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    assert len(manifests) == (3 if autoscaler == "none" else 4)
    for document in manifests:
        validate_manifest(document)
    assert "&id" not in text


def build_invalid_document(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """Return the manifest of the kind `path[0]` with the value at `path` replaced, or removed for `None`."""
    kind, *keys, last = path
    autoscaler: Autoscaler = "keda" if kind == "ScaledObject" else "hpa"
    document: dict[str, Any] = copy.deepcopy(export_documents(PLANS["card"](), autoscaler)[str(kind)])
    parent: Any = document
    for key in keys:
        parent = parent[key]
    if value is None:
        del parent[last]
    else:
        parent[last] = value
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
def test_manifest_schemas_detect_invalid_kubernetes_fields(path: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate_manifest(build_invalid_document(path, value))


@pytest.mark.parametrize("name", PLANS)
def test_kubernetes_replica_counts_match_the_plan(name: str) -> None:
    plan = PLANS[name]()
    fleet, pods = get_fleet(plan), count_pods(plan)
    spare = (fleet.spare_instances or 0) * (fleet.replicas_per_instance or 0)
    assert export_documents(plan)["Deployment"]["spec"]["replicas"] == pods
    scaler = export_documents(plan, "hpa")["HorizontalPodAutoscaler"]["spec"]
    assert scaler["maxReplicas"] == pods
    assert spare < scaler["minReplicas"] <= pods
    keda = export_documents(plan, "keda")["ScaledObject"]["spec"]
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (scaler["minReplicas"], pods)
    assert keda["fallback"]["replicas"] == pods
    assert keda["triggers"][0]["metadata"]["threshold"] == scaler["metrics"][0]["pods"]["target"]["averageValue"]
    scheduled = export_documents(plan, "scheduled")["ScaledObject"]["spec"]
    assert max(int(trigger["metadata"]["desiredReplicas"]) for trigger in scheduled["triggers"]) == pods


def test_keda_threshold_is_the_planned_rate_and_its_query_adds_spares() -> None:
    plan = PLANS["cpu"]()
    fleet = get_fleet(plan)
    assert fleet.planned_rate_per_replica_per_s is not None
    trigger = export_documents(plan, "keda")["ScaledObject"]["spec"]["triggers"][0]["metadata"]
    target = float(trigger["threshold"])
    assert 0.999 * fleet.planned_rate_per_replica_per_s <= target <= fleet.planned_rate_per_replica_per_s
    assert trigger["query"].endswith(f" ) + 16 * {trigger['threshold']}")
    assert count_pods(plan) - 16 < plan.traffic.peak_per_s / target + 16 <= count_pods(plan)
    assert "without the 16 spare" in build_kubernetes_manifests(plan, msgspec.structs.replace(FULL, autoscaler="hpa"))


@pytest.mark.parametrize("autoscaler", AUTOSCALERS[1:])
def test_deployment_with_an_autoscaler_has_no_replicas(autoscaler: Autoscaler) -> None:
    documents = export_documents(PLANS["cpu"](), autoscaler)
    assert "replicas" not in documents["Deployment"]["spec"]
    scaler = documents.get("HorizontalPodAutoscaler") or documents["ScaledObject"]
    reference = scaler["spec"]["scaleTargetRef"]
    assert reference == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "fraud-scoring"}


@pytest.mark.parametrize("autoscaler", AUTOSCALERS)
def test_manifests_have_consistent_labels_ports_names_and_namespace(autoscaler: Autoscaler) -> None:
    documents = export_documents(PLANS["cpu"](), autoscaler)
    pod = documents["Deployment"]["spec"]["template"]
    for selector in (
        documents["Deployment"]["spec"]["selector"]["matchLabels"],
        documents["Service"]["spec"]["selector"],
        documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ):
        assert selector == pod["metadata"]["labels"]
    assert documents["Service"]["spec"]["ports"][0]["targetPort"] == get_container(documents)["ports"][0]["name"]
    assert get_container(documents)["ports"][0]["containerPort"] == 9000
    assert {document["metadata"]["namespace"] for document in documents.values()} == {"ml"}
    assert {document["metadata"]["name"] for document in documents.values()} == {"fraud-scoring"}


def test_rollout_and_disruption_budget_allow_one_spare_instance() -> None:
    documents, replicas_per_instance = export_documents(PLANS["cpu"]()), get_fleet(PLANS["cpu"]()).replicas_per_instance
    assert documents["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {
        "maxUnavailable": replicas_per_instance,
        "maxSurge": 0,
    }
    assert documents["PodDisruptionBudget"]["spec"]["maxUnavailable"] == replicas_per_instance


def test_rollout_allows_the_planned_max_unavailable_instances() -> None:
    plan = build_plan(redundancy=1, max_unavailable=2)
    replicas_per_instance = get_fleet(plan).replicas_per_instance or 0
    rollout = export_documents(plan)["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert rollout == {"maxUnavailable": 2 * replicas_per_instance, "maxSurge": 0}
    assert "spares for failures" not in get_comments(build_kubernetes_manifests(plan, FULL))
    assert "plan.max_unavailable=1" in get_comments(build_kubernetes_manifests(PLANS["cpu"](), FULL))


def test_manifests_of_a_measured_server_use_its_name_port_and_probe_paths() -> None:
    server = MeasuredServer("Fraud scoring", 8000, "/v2/health/ready", None, "/v2/health/live")
    plan = msgspec.structs.replace(PLANS["card"](), server=server)
    text = build_kubernetes_manifests(plan, ExportSettings(image="registry.example/fraud:1"))
    by_kind = parse_documents(text)
    for document in by_kind.values():
        validate_manifest(document)
        assert document["metadata"]["name"] == "fraud-scoring"
    server_container = get_container(by_kind)
    assert server_container["ports"][0]["containerPort"] == 8000
    assert server_container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 8000}
    assert server_container["startupProbe"]["httpGet"] == server_container["readinessProbe"]["httpGet"]
    assert server_container["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": 8000}
    assert "Fill in" not in text
    assert "8000 is the port of the measured URL" in get_comments(text)


def test_container_has_requests_and_limits_for_cpu_memory_and_gpu() -> None:
    plan = with_fleet(PLANS["card"](), memory_gib=32.0)
    resources = get_container(parse_documents(build_kubernetes_manifests(plan, ExportSettings())))["resources"]
    assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory", "nvidia.com/gpu"}


def test_server_without_readiness_path_has_no_probes_and_a_fill_in_comment() -> None:
    plan = msgspec.structs.replace(PLANS["cpu"](), server=MeasuredServer("fraud", 8000))
    text = build_kubernetes_manifests(plan, ExportSettings(image="registry.example/fraud:1"))
    assert not [key for key in get_container(parse_documents(text)) if key.endswith("Probe")]
    fill_in = get_comments(text).partition("Fill in:")[2].partition("Note:")[0]
    assert "readinessProbe: " in fill_in


def test_manifests_without_spare_have_no_unavailable_pods_and_no_zone_spread() -> None:
    documents = export_documents(PLANS["cpu without spare"]())
    assert documents["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert documents["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert "topologySpreadConstraints" not in documents["Deployment"]["spec"]["template"]["spec"]
    assert "No spare is planned" in get_comments(build_kubernetes_manifests(PLANS["cpu without spare"](), FULL))


def test_header_comment_has_the_basis_of_the_plan_and_placeholders() -> None:
    plan = add_simulation(PLANS["cpu"]())
    head = get_comments(build_kubernetes_manifests(plan, ExportSettings(autoscaler="keda")))
    assert plan.recommendation is not None
    assert plan.recommendation.sentence in head
    for expected in ("plan of 2026-08-01", "P(SLO met) at the peak, without spares: 93.4 %", "over 99.9 %",
                 "extrapolated",
                 "the simulation", "based on the measurement of a bench", "latency_ms.p95 < 50",
                 "REPLACE-ME/your-server:tag", "8080", "readinessProbe: ", "REPLACE_ME_requests_total"):  # fmt: skip
        assert expected in head
    unknown = with_fleet(PLANS["cpu"](), slo_probabilities=None)
    assert "was not simulated. The fleet is sized for 90 % confidence" in get_comments(
        build_kubernetes_manifests(unknown, FULL)
    )


def test_complete_settings_leave_no_placeholders() -> None:
    for autoscaler in AUTOSCALERS:
        text = build_kubernetes_manifests(PLANS["cpu"](), msgspec.structs.replace(FULL, autoscaler=autoscaler))
        assert "Fill in" not in text
        assert not re.search("replace.me", text, re.IGNORECASE)


def test_header_comment_lists_every_placeholder() -> None:
    for autoscaler in AUTOSCALERS:
        text = build_kubernetes_manifests(PLANS["cpu"](), ExportSettings(autoscaler=autoscaler))
        placeholders = set(re.findall(r"\S*replace.me\S*", text.partition("\n---")[2], re.IGNORECASE))
        assert placeholders
        assert all(placeholder in get_comments(text) for placeholder in placeholders)


def test_header_comment_has_router_and_mix_of_the_plan() -> None:
    assert "least outstanding" in build_kubernetes_manifests(
        msgspec.structs.replace(PLANS["cpu"](), router="least outstanding"), FULL
    )
    assert "router" not in build_kubernetes_manifests(msgspec.structs.replace(PLANS["cpu"](), router="random"), FULL)
    mixed = msgspec.structs.replace(PLANS["cpu"](), mix=Mix((MixPart("a", 1), MixPart("b", 2)), 10.0, "a mix"))
    assert "found a mix" in get_comments(build_kubernetes_manifests(mixed, FULL))


HOSTILE = "evil\n---\nkind: Secret\r\x85\u2028# x: &a {{ \x00\x1b[31m \u202e *b !!python/object:os.system '\""


def test_untrusted_text_cannot_inject_yaml() -> None:
    plan = build_plan(offer(source=HOSTILE, instance_type=HOSTILE, provider=HOSTILE))
    plan = with_fleet(plan, risk_reasons=(HOSTILE,), measured_on=HOSTILE)
    plan = msgspec.structs.replace(plan, slo=(HOSTILE,), router=HOSTILE)
    settings = ExportSettings(
        name=HOSTILE, image=HOSTILE, ready_path=HOSTILE, prometheus_url=HOSTILE, metric_query=HOSTILE, autoscaler="keda"
    )
    text = build_kubernetes_manifests(plan, settings)
    manifests = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    assert [document["kind"] for document in manifests] == [
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "ScaledObject",
    ]
    for document in manifests:
        validate_manifest(document)
    by_kind = parse_documents(text)
    assert get_container(by_kind)["image"] == HOSTILE
    assert by_kind["ScaledObject"]["spec"]["triggers"][0]["metadata"]["query"].startswith(f"( {HOSTILE} ) + ")
    assert "nodeSelector" not in by_kind["Deployment"]["spec"]["template"]["spec"]
    head = text.partition("\n---")[0]
    assert all(line.startswith("#") for line in re.split("[\n\r\x85\u2028\u2029]", head))


def test_yaml_text_that_looks_like_a_number_is_quoted() -> None:
    for text in ("1e3", "0o7", "1_000", "12e5", "0x1F", ".5", "-1", "+1", "~", "", "null", "on", "1:20"):
        yaml_text = dump_yaml([], [{"value": text}])
        assert re.search(r"value: ['\"]", yaml_text), yaml_text
        assert yaml.safe_load(yaml_text) == {"value": text}


def test_kubernetes_export_without_recommendation_is_refused() -> None:
    with pytest.raises(UsageError, match=r"recommends no fleet.*No instance type qualifies: too dear"):
        build_kubernetes_manifests(without_recommendation(PLANS["cpu"]()), FULL)
