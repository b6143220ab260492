"""Histograms of token lengths, sampled with the seed of the profile. All functions are pure;
computing the histograms may take 0.1 s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from app.gui.formatting import format_count, format_number, shorten

_MAX_BINS = 40
_PLACEHOLDER_LOAD = {"stages": [{"rate": "1/s", "duration": "1s"}]}


class Histogram(msgspec.Struct, frozen=True):
    """Histogram of token lengths. `shares` are percentages of all requests, one per bin; `edges`
    are the bin edges in tokens. The quantiles are computed from the sampled lengths."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    minimum: int
    median: float
    mean: float
    p95: float
    maximum: int


class LengthsView(msgspec.Struct, frozen=True):
    """Histograms to display. `reason` is the reason why there are no histograms, or None."""

    prompts: Histogram | None = None
    outputs: Histogram | None = None
    summary: str = ""
    reason: str | None = None


def build_lengths_view(tree: Mapping[str, Any], path: str) -> LengthsView:
    """Compute the histograms of a profile. If other parts of the profile are invalid, only the
    workload is used."""
    from app.errors import SizewiseError
    from app.profiles.loading import load_profile_tree
    from app.profiles.local import LocalProfile
    from app.wiring.planned_work import sample_prompt_lengths

    try:
        try:
            profile = load_profile_tree(dict(tree), path)
        except SizewiseError:
            profile = load_profile_tree(_extract_workload(tree), path)
        if isinstance(profile, LocalProfile) or not profile.protocol.has_prompt_lengths:
            return LengthsView(reason="Requests of this protocol have no token lengths.")
        lengths = sample_prompt_lengths(profile)
    except SizewiseError as error:
        return LengthsView(reason=f"The workload has errors: {shorten(str(error), 300)}")
    if lengths.reason is not None:
        return LengthsView(reason=lengths.reason)
    summary = (
        f"The requests rotate through {format_count(lengths.distinct_prompts)} distinct prompts "
        f"(seed {profile.load.seed})."
    )
    if lengths.requests_per_session != 1:
        request_count_text = format_number(lengths.requests_per_session)
        summary += (
            f" Each session has {request_count_text} requests on average. Every request includes the previous turns."
        )
    return LengthsView(
        _build_histogram(lengths.input_tokens),
        _build_histogram(lengths.output_tokens) if lengths.output_tokens else None,
        summary,
    )


def _extract_workload(tree: Mapping[str, Any]) -> dict[str, Any]:
    target = tree.get("target")
    protocol = target.get("protocol") if isinstance(target, Mapping) else None
    load = tree.get("load")
    seed = load.get("seed") if isinstance(load, Mapping) else None
    return {
        "sizewise": 1,
        "name": "lengths",
        "target": {"protocol": protocol, "url": "http://127.0.0.1:1/v1", "model": "model"},
        "workload": tree.get("workload"),
        "load": {**_PLACEHOLDER_LOAD, "seed": seed} if isinstance(seed, int) else dict(_PLACEHOLDER_LOAD),
    }


def _build_histogram(lengths: tuple[int, ...]) -> Histogram:
    import numpy as np

    values = np.asarray(lengths)
    shortest, longest = int(values.min()), int(values.max())
    bin_count = max(1, min(_MAX_BINS, longest - shortest))
    counts, edges = np.histogram(values, bins=bin_count, range=(shortest - 0.5, longest + 0.5))
    median, p95 = np.percentile(values, [50, 95])
    return Histogram(
        edges=tuple(edges.tolist()),
        shares=tuple((100 * counts / len(values)).tolist()),
        minimum=shortest,
        median=float(median),
        mean=float(values.mean()),
        p95=float(p95),
        maximum=longest,
    )
