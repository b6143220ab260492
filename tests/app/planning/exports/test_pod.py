from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.planning.exports.pod import build_placement, build_probes, build_resources, build_zone_spread, list_pod_notes
from app.planning.exports.settings import ExportSettings
from app.records.plan import Fleet
from tests.app.planning.exports.planned import fleet_of, planned, planned_on_cards

PLAIN = ExportSettings()


def fleet(**changes: Any) -> Fleet:
    return msgspec.structs.replace(fleet_of(planned()), **changes)


def card(count: float = 1.0, replicas: int = 1, **changes: Any) -> Fleet:
    facts = {"accelerator_count": count, "replicas_per_instance": replicas} | changes
    return msgspec.structs.replace(fleet_of(planned_on_cards()), **facts)


def test_a_pod_asks_for_its_share_of_what_the_node_can_give() -> None:
    asked = build_resources(fleet(), ExportSettings(instance_memory_gib=32.0))
    assert asked == {
        "requests": {"cpu": "900m", "memory": "1843Mi"},
        "limits": {"cpu": "1000m", "memory": "1843Mi"},
    }


@pytest.mark.parametrize("replicas", [1, 3, 7, 16])
@pytest.mark.parametrize("node_share", [0.5, 0.9, 1.0])
def test_all_pods_of_an_instance_find_room_on_it(replicas: int, node_share: float) -> None:
    one = fleet(replicas_per_instance=replicas)
    asked = build_resources(one, ExportSettings(instance_memory_gib=30.0, node_share=node_share))["requests"]
    assert int(asked["cpu"].removesuffix("m")) * replicas <= 16_000 * node_share
    assert int(asked["memory"].removesuffix("Mi")) * replicas <= 30 * 1024 * node_share
    assert int(asked["cpu"].removesuffix("m")) * replicas > 16_000 * node_share - replicas


def test_what_is_not_known_is_not_asked_for() -> None:
    unknown = fleet(vcpus=None)
    assert build_resources(unknown, PLAIN) == {"requests": {}}
    notes = " ".join(list_pod_notes(unknown, PLAIN))
    assert "no CPU is requested" in notes
    assert "no memory is requested" in notes


@pytest.mark.parametrize(
    ("count", "replicas", "asked", "reported"),
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
def test_accelerators_are_asked_for_whole(count: float, replicas: int, asked: int, reported: str | None) -> None:
    one = card(count, replicas)
    found = build_resources(one, PLAIN)
    assert found["requests"]["nvidia.com/gpu"] == found["limits"]["nvidia.com/gpu"] == asked
    notes = " ".join(list_pod_notes(one, PLAIN))
    assert reported in notes if reported else "l4" not in notes


@pytest.mark.parametrize(
    ("key", "name"),
    [("l4", "nvidia.com/gpu"), ("mi300x", "amd.com/gpu"), ("gaudi3", "habana.ai/gaudi"), ("tpu-v6e", "google.com/tpu"),
     ("inferentia2", "aws.amazon.com/neuron")],
)  # fmt: skip
def test_the_resource_is_the_makers(key: str, name: str) -> None:
    one = card(accelerator=key)
    assert name in build_resources(one, PLAIN)["requests"]
    assert build_placement(one, PLAIN)["tolerations"] == [{"key": name, "operator": "Exists", "effect": "NoSchedule"}]


def test_the_resource_can_be_reported() -> None:
    one = ExportSettings(accelerator_resource="nvidia.com/mig-1g.10gb")
    assert "nvidia.com/mig-1g.10gb" in build_resources(card(), one)["limits"]


def test_the_nodes_are_those_of_the_offer() -> None:
    assert build_placement(fleet(), PLAIN) == {
        "nodeSelector": {
            "node.kubernetes.io/instance-type": "c7i.4xlarge",
            "topology.kubernetes.io/region": "us-east-1",
        }
    }


def test_a_region_that_no_label_has_is_left_out() -> None:
    for one in (fleet(provider="acme"), fleet(region="any"), fleet(region="over there")):
        assert list(build_placement(one, PLAIN)["nodeSelector"]) == ["node.kubernetes.io/instance-type"]
    assert "Check the node.kubernetes.io/instance-type label of the nodes of acme." in " ".join(
        list_pod_notes(fleet(provider="acme"), PLAIN)
    )


def test_an_instance_type_that_is_no_label_is_left_out_and_reported() -> None:
    listed = fleet(instance_type="per-gpu-list:l4", provider="ovhcloud", region="any")
    assert build_placement(listed, PLAIN) == {}
    assert "Select the nodes yourself" in " ".join(list_pod_notes(listed, PLAIN))


def test_zones_are_for_fleets_with_a_spare() -> None:
    assert build_zone_spread(fleet(spare_instances=0), {"a": "b"}) == []
    spread = build_zone_spread(fleet(), {"a": "b"})[0]
    assert spread["topologyKey"] == "topology.kubernetes.io/zone"
    assert spread["labelSelector"] == {"matchLabels": {"a": "b"}}


@pytest.mark.parametrize("start_within_s", [1.0, 5.0, 95.0, 600.0])
def test_a_pod_has_the_time_it_takes_to_start(start_within_s: float) -> None:
    start = build_probes(ExportSettings(start_within_s=start_within_s, ready_path="/ready"))["startupProbe"]
    assert start_within_s <= start["periodSeconds"] * start["failureThreshold"] < start_within_s + 10
    assert start["httpGet"] == {"path": "/ready", "port": 8080}


def test_a_server_without_known_paths_has_no_probe() -> None:
    assert build_probes(PLAIN) == {}
    assert build_probes(ExportSettings(live_path="/live")) == {}, "nothing allows the server its time to start"


def test_liveness_is_checked_only_at_a_path_of_its_own() -> None:
    probes = build_probes(ExportSettings(ready_path="/ready", ready_port=9001))
    assert list(probes) == ["startupProbe", "readinessProbe"]
    assert probes["readinessProbe"]["httpGet"] == {"path": "/ready", "port": 9001}
    probes = build_probes(ExportSettings(ready_path="/ready", ready_port=9001, live_path="/live", port=9000))
    assert probes["livenessProbe"]["httpGet"] == {"path": "/live", "port": 9000}
