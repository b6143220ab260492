from __future__ import annotations

from app.analysis.published_points import load_published_points, load_recipe_flags
from app.records.engine_presets import ENGINE_PRESETS
from tests.studies.recipe_flags import list_flags

_SCRIPT = """
if [[ $ISL -eq 1024 ]]; then
  LIMIT=128
else
  LIMIT=32
fi
cuda_graph_config:
  max_batch_size: 512
trtllm-serve $MODEL --max_num_tokens=$LIMIT --max_batch_size "$CONC" --kv_cache_free_gpu_memory_fraction 0.5
kv_cache_config:
  dtype: fp8
  free_gpu_memory_fraction: 0.85
"""


def test_flags_of_a_script_have_literal_values() -> None:
    assert dict(list_flags(_SCRIPT, "trtllm")) == {
        "--max_batch_size": "clients",
        "--max_num_tokens": "32 or 128",
        "--free_gpu_memory_fraction": "0.85",
        "kv_cache_config.dtype": "fp8",
    }


def test_every_recipe_of_a_published_point_has_flags_of_its_engine() -> None:
    flags = load_recipe_flags()
    for point in load_published_points():
        if point.recipe is not None:
            known = {flag.flag for flag in ENGINE_PRESETS[point.served.engine].flags}
            assert set(flags[point.recipe]) <= known
            assert flags[point.recipe]
