from __future__ import annotations

from msgspec.structs import replace

from reports.sections.mlperf import CAVEAT, ONLY_OFFLINE, MlperfRow, list_results

ROW = MlperfRow(
    round="v5.1",
    scenario="offline",
    benchmark="llama3.1-8b",
    accelerator="l4",
    accelerators=4,
    precision="fp8",
    engine="tensorrt",
    tokens_per_s=None,
    samples_per_s=12.5,
    submitter="ACME",
    system="rack",
    measured_on="2026-01-02",
    source="https://example.com",
)


def test_results_of_the_offline_scenario_only_say_so() -> None:
    assert list_results([ROW]).note == f"{CAVEAT} {ONLY_OFFLINE}"
    assert list_results([ROW, replace(ROW, scenario="server")]).note == CAVEAT
