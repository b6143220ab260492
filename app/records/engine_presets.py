"""Default flags of inference engines, by the engines' own names: one row per flag.

A plan of a language model that was not measured assumes them if it names an engine. Several flags have other defaults
on accelerators with less memory.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from app.records.evidence import EngineName

AssumedSetting = Literal["max_sequences", "chunk_tokens", "utilization", "block_tokens", "kv"]
"""Setting of a plan that a flag sets: keys of `engine`, the size of a block of the KV cache in tokens, or
`precision.kv`."""
MemoryShare = Literal["all", "weights and cache", "rest"]
"""What the share of the memory that an engine may allocate refers to.

all: weights, KV cache and activations are within this share of the memory. weights and cache: activations are not
within it. rest: the KV cache gets this share of what weights and activations leave.
"""


class FlagDefault(msgspec.Struct, frozen=True):
    """Default of a flag on accelerators with at least `least_gib` GiB of memory, from a version of the engine on."""

    value: float | str
    least_gib: float = 0.0
    since: str = "0"


class EngineFlag(msgspec.Struct, frozen=True, kw_only=True):
    """Flag of an engine and its defaults; of those that apply, the last one counts.

    `setting` is None if a plan does not depend on the flag. If `is_reserved`, the defaults are what the engine leaves
    free of the memory in GiB, and the flag is the share of the rest, for one accelerator per replica.
    """

    flag: str
    setting: AssumedSetting | None
    defaults: tuple[FlagDefault, ...]
    is_reserved: bool = False


class EnginePreset(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults of an engine, which were read from the `source` of `versions`; the last one is the default.

    Accelerators whose keys start with one of `low_memory_keys` get the defaults of those with the least memory.
    `vendors` are those of the accelerators that the engine runs on; empty for any. `long_prompt_flag` is the flag with
    which an engine prefills a prompt in several steps; without it, the engine refuses prompts that are longer than a
    step. It is None if the engine does so by default.
    """

    name: EngineName
    title: str
    versions: tuple[str, ...]
    source: str
    memory_share: MemoryShare
    flags: tuple[EngineFlag, ...]
    low_memory_keys: tuple[str, ...] = ()
    vendors: tuple[str, ...] = ()
    long_prompt_flag: str | None = None

    def find_version(self, requested: str | None) -> str | None:
        """Return the newest of `versions` that is not newer than the requested one; without a request, the newest of
        all. Return None if all are newer, so that the defaults of the requested version are unknown."""
        known = [version for version in self.versions if requested is None or is_at_least(requested, version)]
        return known[-1] if known else None


def is_at_least(version: str, other: str) -> bool:
    """Return whether a version such as 0.19.0 is the other one or a newer one. A suffix such as rc4 is ignored."""
    first, second = (tuple(map(int, re.findall(r"\d+", re.split(r"[a-z+-]", text)[0]))) for text in (version, other))
    return first >= second


ENGINE_PRESETS: dict[EngineName, EnginePreset] = {
    "vllm": EnginePreset(
        name="vllm",
        title="vLLM",
        versions=("0.19.0", "0.20.0", "0.33.0"),
        source="vllm/engine/arg_utils.py and vllm/config/cache.py",
        memory_share="all",
        flags=(
            EngineFlag(
                flag="--max-num-seqs", setting="max_sequences", defaults=(FlagDefault(256), FlagDefault(1024, 70))
            ),
            EngineFlag(
                flag="--max-num-batched-tokens",
                setting="chunk_tokens",
                defaults=(FlagDefault(2048), FlagDefault(8192, 70), FlagDefault(16384, 160, "0.33")),
            ),
            EngineFlag(
                flag="--gpu-memory-utilization",
                setting="utilization",
                defaults=(FlagDefault(0.9), FlagDefault(0.92, since="0.20")),
            ),
            EngineFlag(flag="--block-size", setting="block_tokens", defaults=(FlagDefault(16),)),
            EngineFlag(flag="--kv-cache-dtype", setting="kv", defaults=(FlagDefault("auto"),)),
            EngineFlag(flag="--enable-chunked-prefill", setting=None, defaults=(FlagDefault("on"),)),
            EngineFlag(flag="--enable-prefix-caching", setting=None, defaults=(FlagDefault("on"),)),
        ),
        low_memory_keys=("a100",),
    ),
    "sglang": EnginePreset(
        name="sglang",
        title="SGLang",
        versions=("0.5.9",),
        source="sglang/srt/server_args.py and sglang/srt/model_executor",
        memory_share="weights and cache",
        flags=(
            EngineFlag(flag="--max-running-requests", setting="max_sequences", defaults=(FlagDefault(2048),)),
            EngineFlag(
                flag="--chunked-prefill-size",
                setting="chunk_tokens",
                defaults=(FlagDefault(2048), FlagDefault(4096, 35), FlagDefault(8192, 60), FlagDefault(16384, 160)),
            ),
            EngineFlag(
                flag="--mem-fraction-static",
                setting="utilization",
                defaults=(FlagDefault(3.5), FlagDefault(6.6, 35), FlagDefault(13.0, 60), FlagDefault(25.5, 160)),
                is_reserved=True,
            ),
            EngineFlag(flag="--page-size", setting="block_tokens", defaults=(FlagDefault(1),)),
            EngineFlag(flag="--kv-cache-dtype", setting="kv", defaults=(FlagDefault("auto"),)),
        ),
    ),
    "trtllm": EnginePreset(
        name="trtllm",
        title="TensorRT-LLM",
        versions=("1.4.0rc4",),
        source="tensorrt_llm/llmapi/llm_args.py, and KvCacheConfig of the reference of the LLM API",
        memory_share="rest",
        flags=(
            EngineFlag(flag="--max_batch_size", setting="max_sequences", defaults=(FlagDefault(2048),)),
            EngineFlag(flag="--max_num_tokens", setting="chunk_tokens", defaults=(FlagDefault(8192),)),
            EngineFlag(flag="--free_gpu_memory_fraction", setting="utilization", defaults=(FlagDefault(0.9),)),
            EngineFlag(flag="kv_cache_config.tokens_per_block", setting="block_tokens", defaults=(FlagDefault(32),)),
            EngineFlag(flag="kv_cache_config.dtype", setting="kv", defaults=(FlagDefault("auto"),)),
            EngineFlag(flag="enable_chunked_prefill", setting=None, defaults=(FlagDefault("false"),)),
        ),
        vendors=("NVIDIA",),
        long_prompt_flag="enable_chunked_prefill",
    ),
}
"""Presets by engine. SGLang limits requests by its cache, to between 2,048 and 4,096."""
