from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.planning.exports.pod import build_placement, build_probes, build_resources, build_zone_spread, list_pod_notes
from app.planning.exports.settings import ExportSettings
from app.records.plan import Fleet
from tests.app.planning.exports.planned import build_gpu_plan, build_plan, get_fleet

DEFAULTS = ExportSettings()


def build_cpu_fleet(**changes: Any) -> Fleet:
    return msgspec.structs.replace(get_fleet(build_plan()), **changes)


def build_gpu_fleet(count: float = 1.0, replicas: int = 1, **changes: Any) -> Fleet:
    fields = {"accelerator_count": count, "replicas_per_instance": replicas} | changes
    return msgspec.structs.replace(get_fleet(build_gpu_plan()), **fields)


def test_pod_requests_its_share_of_the_allocatable_node() -> None:
    resources = build_resources(build_cpu_fleet(), ExportSettings(instance_memory_gib=32.0))
    assert resources == {
        "requests": {"cpu": "900m", "memory": "1843Mi"},
        "limits": {"cpu": "1000m", "memory": "1843Mi"},
    }


@pytest.mark.parametrize("replicas", [1, 3, 7, 16])
@pytest.mark.parametrize("node_share", [0.5, 0.9, 1.0])
def test_requests_of_all_pods_of_an_instance_fit_on_it(replicas: int, node_share: float) -> None:
    packed_fleet = build_cpu_fleet(replicas_per_instance=replicas)
    requests = build_resources(packed_fleet, ExportSettings(instance_memory_gib=30.0, node_share=node_share))[
        "requests"
    ]
    assert int(requests["cpu"].removesuffix("m")) * replicas <= 16_000 * node_share
    assert int(requests["memory"].removesuffix("Mi")) * replicas <= 30 * 1024 * node_share
    assert int(requests["cpu"].removesuffix("m")) * replicas > 16_000 * node_share - replicas


def test_unknown_cpu_and_memory_are_not_requested() -> None:
    unknown = build_cpu_fleet(vcpus=None)
    assert build_resources(unknown, DEFAULTS) == {"requests": {}}
    notes = " ".join(list_pod_notes(unknown, DEFAULTS))
    assert "no CPU is requested" in notes
    assert "no memory is requested" in notes


@pytest.mark.parametrize(
    ("count", "replicas", "requested", "note"),
    [
        (1.0, 1, 1, None),
        (4.0, 4, 1, None),
        (8.0, 2, 4, None),
        (8.0, 3, 2, "2 of an instance's 8 l4 are not used by a pod"),
        (1.0, 4, 1, "4 times (time-slicing or MPS), or 3 of every 4 pods"),
        (2.0, 5, 1, "3 times"),
        (0.25, 1, 1, None),
    ],
)
def test_pods_request_whole_accelerators(count: float, replicas: int, requested: int, note: str | None) -> None:
    gpu_fleet = build_gpu_fleet(count, replicas)
    resources = build_resources(gpu_fleet, DEFAULTS)
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == requested
    notes = " ".join(list_pod_notes(gpu_fleet, DEFAULTS))
    assert note in notes if note else "l4" not in notes


@pytest.mark.parametrize(
    ("key", "name"),
    [("l4", "nvidia.com/gpu"), ("mi300x", "amd.com/gpu"), ("gaudi3", "habana.ai/gaudi"), ("tpu-v6e", "google.com/tpu"),
     ("inferentia2", "aws.amazon.com/neuron")],
)  # fmt: skip
def test_accelerator_resource_name_depends_on_the_vendor(key: str, name: str) -> None:
    gpu_fleet = build_gpu_fleet(accelerator=key)
    assert name in build_resources(gpu_fleet, DEFAULTS)["requests"]
    assert build_placement(gpu_fleet, DEFAULTS)["tolerations"] == [
        {"key": name, "operator": "Exists", "effect": "NoSchedule"}
    ]


def test_accelerator_resource_setting_is_used() -> None:
    settings = ExportSettings(accelerator_resource="nvidia.com/mig-1g.10gb")
    assert "nvidia.com/mig-1g.10gb" in build_resources(build_gpu_fleet(), settings)["limits"]


def test_node_selector_is_the_instance_type_and_region_of_the_offer() -> None:
    assert build_placement(build_cpu_fleet(), DEFAULTS) == {
        "nodeSelector": {
            "node.kubernetes.io/instance-type": "c7i.4xlarge",
            "topology.kubernetes.io/region": "us-east-1",
        }
    }


def test_region_without_a_node_label_is_not_selected() -> None:
    for unlabeled_fleet in (
        build_cpu_fleet(provider="acme"),
        build_cpu_fleet(region="any"),
        build_cpu_fleet(region="over there"),
    ):
        assert list(build_placement(unlabeled_fleet, DEFAULTS)["nodeSelector"]) == ["node.kubernetes.io/instance-type"]
    assert "Check the node.kubernetes.io/instance-type label of the nodes of acme." in " ".join(
        list_pod_notes(build_cpu_fleet(provider="acme"), DEFAULTS)
    )


def test_instance_type_that_is_no_label_value_is_not_selected_and_has_a_note() -> None:
    listed = build_cpu_fleet(instance_type="per-gpu-list:l4", provider="ovhcloud", region="any")
    assert build_placement(listed, DEFAULTS) == {}
    assert "Select the nodes yourself" in " ".join(list_pod_notes(listed, DEFAULTS))


def test_zone_spread_is_only_for_fleets_with_a_spare() -> None:
    assert build_zone_spread(build_cpu_fleet(spare_instances=0), {"a": "b"}) == []
    spread = build_zone_spread(build_cpu_fleet(), {"a": "b"})[0]
    assert spread["topologyKey"] == "topology.kubernetes.io/zone"
    assert spread["labelSelector"] == {"matchLabels": {"a": "b"}}


@pytest.mark.parametrize("start_within_s", [1.0, 5.0, 95.0, 600.0])
def test_startup_probe_allows_the_start_time(start_within_s: float) -> None:
    start = build_probes(ExportSettings(start_within_s=start_within_s, ready_path="/ready"))["startupProbe"]
    assert start_within_s <= start["periodSeconds"] * start["failureThreshold"] < start_within_s + 10
    assert start["httpGet"] == {"path": "/ready", "port": 8080}


def test_server_without_probe_paths_has_no_probes() -> None:
    assert build_probes(DEFAULTS) == {}
    assert build_probes(ExportSettings(live_path="/live")) == {}, "nothing allows the server its time to start"


def test_liveness_probe_needs_its_own_path() -> None:
    probes = build_probes(ExportSettings(ready_path="/ready", ready_port=9001))
    assert list(probes) == ["startupProbe", "readinessProbe"]
    assert probes["readinessProbe"]["httpGet"] == {"path": "/ready", "port": 9001}
    probes = build_probes(ExportSettings(ready_path="/ready", ready_port=9001, live_path="/live", port=9000))
    assert probes["livenessProbe"]["httpGet"] == {"path": "/live", "port": 9000}
