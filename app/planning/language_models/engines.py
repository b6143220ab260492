"""Limits of an inference engine on an accelerator: those that the user sets, then the defaults of the engine."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.planning.hardware.rates import Unavailable
from app.records.checks import Check
from app.records.engine_presets import ENGINE_PRESETS, EngineFlag, MemoryShare, is_at_least
from app.records.offers import Accelerator
from app.records.planning_inputs import Engine
from app.records.traffic import TokenLengths


class EngineLimits(msgspec.Struct, frozen=True):
    """Tokens of a step, sequences at once, share of the memory, and tokens of a block of the KV cache."""

    chunk_tokens: int = 2048
    max_sequences: int = 256
    utilization: float = 0.90
    block_tokens: int = 16
    memory_share: MemoryShare = "all"


def resolve_engine(engine: Engine, accelerator: Accelerator) -> EngineLimits:
    """Return the limits of an engine on an accelerator. Without a named engine, what is not set is as in
    `EngineLimits`."""
    limits = EngineLimits()
    if engine.name is not None:
        preset = ENGINE_PRESETS[engine.name]
        defaults = {flag.setting: _find_default(flag, engine, accelerator) for flag in preset.flags}
        limits = EngineLimits(
            chunk_tokens=int(defaults["chunk_tokens"]),
            max_sequences=int(defaults["max_sequences"]),
            utilization=float(defaults["utilization"]),
            block_tokens=int(defaults["block_tokens"]),
            memory_share=preset.memory_share,
        )
    set_values = {
        name: value for name in limits.__struct_fields__ if (value := getattr(engine, name, None)) is not None
    }
    return msgspec.structs.replace(limits, **set_values)


def find_unsupported_vendor(engine: Engine, accelerator: Accelerator) -> Unavailable | None:
    """Return why a named engine does not run on an accelerator; None if it does."""
    preset = None if engine.name is None else ENGINE_PRESETS[engine.name]
    if preset is None or not preset.vendors or accelerator.vendor in preset.vendors:
        return None
    return Unavailable("runtime", f"{preset.title} runs on accelerators of {' and '.join(preset.vendors)} only")


def check_prompt_length(engine: Engine, accelerator: Accelerator, tokens: Sequence[TokenLengths]) -> tuple[Check, ...]:
    """Return a warning if a named engine refuses the longest prompts with its default flags; otherwise return an empty
    tuple."""
    preset = None if engine.name is None else ENGINE_PRESETS[engine.name]
    if preset is None or preset.long_prompt_flag is None:
        return ()
    longest = max((lengths.input for lengths in tokens), default=0.0)
    chunk_tokens = resolve_engine(engine, accelerator).chunk_tokens
    if longest <= chunk_tokens:
        return ()
    chunk_flag = next(flag.flag for flag in preset.flags if flag.setting == "chunk_tokens")
    hint = (
        f"By default, {preset.title} refuses prompts of more than {chunk_tokens:,} tokens ({chunk_flag}), and the "
        f"longest here has {longest:,.0f}. Start it with {preset.long_prompt_flag} on, as the plan assumes."
    )
    return (Check("prompt_length", longest, float(chunk_tokens), "tokens", "WARN", hint),)


def format_flags(engine: Engine, accelerator: Accelerator, kv_dtype: str) -> tuple[str, ...]:
    """Return the flags of a named engine with their values on an accelerator, as `--flag value`; nothing if no engine
    is named."""
    if engine.name is None:
        return ()
    preset, limits = ENGINE_PRESETS[engine.name], resolve_engine(engine, accelerator)
    texts = []
    for flag in preset.flags:
        value = _find_default(flag, engine, accelerator)
        if flag.setting == "kv":
            value = value if kv_dtype in ("bf16", "fp16") else kv_dtype
        elif flag.setting is not None:
            value = getattr(limits, flag.setting)
        texts.append(f"{flag.flag} {value if isinstance(value, str) else f'{value:g}'}")
    return tuple(texts)


def get_version(engine: Engine) -> str:
    """Return the version of a named engine whose defaults apply: the newest known one that is not newer than the
    server's."""
    assert engine.name is not None
    version = ENGINE_PRESETS[engine.name].find_version(engine.version)
    assert version is not None, f"the defaults of {engine.name} {engine.version} are unknown"
    return version


def _find_default(flag: EngineFlag, engine: Engine, accelerator: Accelerator) -> float | str:
    assert engine.name is not None
    preset, memory_gib = ENGINE_PRESETS[engine.name], accelerator.memory_gib or 0.0
    if any(accelerator.key.startswith(key) for key in preset.low_memory_keys):
        memory_gib = 0.0
    version = get_version(engine)
    value = [
        default.value
        for default in flag.defaults
        if default.least_gib <= memory_gib and is_at_least(version, default.since)
    ][-1]
    return round(1 - float(value) / max(memory_gib, 1.0), 3) if flag.is_reserved else value
