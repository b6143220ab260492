"""Doubts that a practitioner would have about what was asked, and what of it the server remembered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from app.analysis.grading import grade_high, grade_low
from app.records.result import Check
from app.records.telemetry import Samples

_FROM_CACHE = 0.05
_CACHES = (
    ("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"),
    ("vllm:gpu_prefix_cache_hits_total", "vllm:gpu_prefix_cache_queries_total"),
    ("sglang:cached_tokens_total", "sglang:prompt_tokens_total"),
    ("trtllm_prompt_cached_tokens_total", "trtllm_prompt_tokens_total"),
)
"""Prompt tokens that came from a server's prefix cache, and all of them. vLLM showed the second pair up to 0.9, for a
while beside the first; SGLang splits the first by `cache_source`, of which each request counts in one."""


def prefix_cache_check(
    before: Sequence[Samples | None], after: Sequence[Samples | None], *, is_wanted: bool
) -> Check | None:
    """Of a target's servers, in the same order, before and after the load; None where none of them counted.

    What a chat template puts before every prompt is in a cache for real users too, so a little is no doubt.
    `is_wanted`: the profile asks for prompts that share something.
    """
    counted = [moved for pair in zip(before, after, strict=False) if (moved := _moved(*pair)) is not None]
    hits, asked = (sum(counts) for counts in zip(*counted, strict=True)) if counted else (0.0, 0.0)
    if asked <= 0:
        return None
    share = min(1.0, hits / asked)
    if is_wanted:
        return Check("prefix_cache", share, None, "share", "VALID")
    return grade_high(
        "prefix_cache",
        share,
        unit="share",
        warn=_FROM_CACHE,
        hint=f"{100 * share:.0f} % of the prompt tokens came from the server's prefix cache: users with other prompts "
        "are more work a request. Prepare more different prompts (prompts.unique, or a dataset of more rows), or, "
        "where users share beginnings, say so (prompts.prefix).",
    )


def prompts_check(distinct: int, prepared: int) -> Check:
    """Whether a language model was asked different things."""
    hint = (
        f"All {prepared:,} prepared requests have the same prompt: a prefix cache does its work once. Prepare more "
        "(prompts.unique, or more rows in the dataset)."
        if prepared > 1
        else "One prompt is sent again and again: a prefix cache does its work once. Prepare more (prompts.unique, or "
        "more rows in the dataset)."
    )
    return grade_low("prompts", float(distinct), unit="different", warn=2.0, hint=hint)


def _moved(before: Samples | None, after: Samples | None) -> tuple[float, float] | None:
    """Hits and prompt tokens between two looks; None where a server does not count them, or began again at 0."""
    if before is None or after is None:
        return None
    for moved in _each_moved(before.totals, after.totals):
        if all(math.isfinite(count) and count >= 0 for count in moved):
            return moved
    return None


def _each_moved(before: dict[str, float], after: dict[str, float]) -> Iterator[tuple[float, float]]:
    """A counter with labels is not shown before it first counts, so one that is not there yet is 0."""
    for hits, asked in _CACHES:
        if asked in after:
            yield after.get(hits, 0.0) - before.get(hits, 0.0), after[asked] - before.get(asked, 0.0)
