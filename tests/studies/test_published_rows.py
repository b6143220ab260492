from __future__ import annotations

import pytest

from tests.studies.published_rows import build_point, counts, find_layout, find_recipe, select_points

ROW = {
    "id": "r1", "silicon_data_source": "source_file=x.csv; silicon_concurrency=64; measured=2026-02-03; image=a#b:1",
    "backend": "trtllm", "backend_version": "1.0", "model_path": "deepseek-ai/DeepSeek-R1", "system": "b200_sxm",
    "precision": "fp4", "mode": "agg", "isl": "1024", "osl": "1024", "gemm_quant_mode": "nvfp4", "batch_size": "16",
    "tp_size": "8.0", "pp_size": "1.0", "attention_dp_size": "1.0", "moe_tp_size": "8.0", "moe_ep_size": "1.0",
    "silicon_ttft_ms": "200.0", "silicon_tpot_ms": "10.0",
}  # fmt: skip


def edit(**cells: str) -> dict[str, str]:
    return {**ROW, **cells}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({}, True),
        ({"mode": "disagg"}, False),
        ({"tp_size": "16.0"}, False),
        ({"silicon_ttft_ms": "10240.0"}, True),
        ({"silicon_ttft_ms": "10241.0"}, False),
        ({"silicon_tpot_ms": ""}, False),
    ],
)
def test_rows_are_selected_by_mode_tp_and_ttft(cells: dict[str, str], expected: bool) -> None:
    assert counts(edit(**cells)) is expected


@pytest.mark.parametrize(
    ("engine", "tp", "dp", "moe_tp", "moe_ep", "layout"),
    [
        ("trtllm", "8", "1", "8", "1", (8, 1, 1)),
        ("trtllm", "1", "8", "1", "8", (8, 8, 8)),
        ("trtllm", "1", "64", "8", "8", (8, 8, 8)),
        ("trtllm", "4", "1", "2", "2", (2, 1, 2)),
        ("sglang", "4", "1", "1", "4", (4, 1, 4)),
        ("vllm", "4", "4", "1", "16", (4, 1, 4)),
        ("vllm", "1", "", "4", "1", (4, 4, 1)),
    ],
)
def test_parallel_layout_is_derived_from_multiplied_sizes(
    engine: str, tp: str, dp: str, moe_tp: str, moe_ep: str, layout: tuple[int, int, int]
) -> None:
    row = edit(backend=engine, tp_size=tp, attention_dp_size=dp, moe_tp_size=moe_tp, moe_ep_size=moe_ep)
    assert find_layout(row) == layout


def test_measurement_published_twice_is_one_point() -> None:
    rows = [ROW, edit(id="r2"), edit(id="r3", silicon_tpot_ms="10.1")]
    assert [point.id for point in select_points(rows)] == ["r1", "r3"]


def test_point_has_the_concurrency_image_and_date_of_its_row() -> None:
    point = build_point(ROW)
    assert (point.clients, point.image, str(point.measured_on)) == (64, "a/b:1", "2026-02-03")
    assert point.served.tensor_parallel == 8


def test_model_of_the_same_architecture_counts_as_the_one_with_points() -> None:
    assert build_point({**ROW, "model_path": "deepseek-ai/DeepSeek-V3.2"}).served.model == "deepseek-v3"


@pytest.mark.parametrize("cell", [{"model_path": "no/model"}, {"system": "no_gpu"}, {"backend": "no_engine"}])
def test_unknown_names_are_refused(cell: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="unknown"):
        build_point(edit(**cell))


def test_recipe_is_the_script_of_the_same_server() -> None:
    point = build_point(ROW)
    assert find_recipe(point, {"dsr1_fp4_b200_trt.sh"}) == "dsr1_fp4_b200_trt.sh"
    assert find_recipe(point, {"dsr1_fp4_b200.sh", "dsr1_fp8_b200_trt.sh"}) is None
