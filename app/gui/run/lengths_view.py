"""The lengths that a profile's seed draws, as histograms. Pure; it may take a tenth of a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from app.gui.formatting import count, number

_MOST_BINS = 40
_ALONE = {"stages": [{"rate": "1/s", "duration": "1s"}]}


class Histogram(msgspec.Struct, frozen=True):
    """`shares` of all requests, in per cent, between `edges`. Quantiles are those of the drawn lengths."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    least: int
    median: float
    mean: float
    p95: float
    most: int


class LengthsView(msgspec.Struct, frozen=True):
    """`reason`: why nothing is drawn, in words."""

    inputs: Histogram | None = None
    outputs: Histogram | None = None
    said: str = ""
    reason: str | None = None


def lengths_view(tree: Mapping[str, Any], place: str) -> LengthsView:
    """Of what is asked alone, where the rest of the profile is not right yet."""
    from app.errors import SizewiseError
    from app.profiles.loading import load_values
    from app.profiles.profile import EmbeddingsProfile, GeneratingProfile, RerankProfile
    from app.wiring.planned_work import lengths_of_prompts

    try:
        try:
            profile = load_values(dict(tree), place)
        except SizewiseError:
            profile = load_values(_asked_alone(tree), place)
        if not isinstance(profile, GeneratingProfile | EmbeddingsProfile | RerankProfile):
            return LengthsView(reason="Requests of this protocol have no lengths in tokens.")
        lengths = lengths_of_prompts(profile)
    except SizewiseError as error:
        return LengthsView(reason=f"The workload is not right yet: {str(error)[:300]}")
    if lengths.reason is not None:
        return LengthsView(reason=lengths.reason)
    said = f"{count(lengths.unique)} prompts, drawn with seed {profile.load.seed}, take turns."
    if lengths.requests_a_session != 1:
        turns = number(lengths.requests_a_session)
        said += f" Each is a session of {turns} requests on average, with all turns before each."
    return LengthsView(_histogram(lengths.inputs), _histogram(lengths.outputs) if lengths.outputs else None, said)


def _asked_alone(tree: Mapping[str, Any]) -> dict[str, Any]:
    target = tree.get("target")
    protocol = target.get("protocol") if isinstance(target, Mapping) else None
    load = tree.get("load")
    seed = load.get("seed") if isinstance(load, Mapping) else None
    return {
        "sizewise": 1,
        "name": "lengths",
        "target": {"protocol": protocol, "url": "http://127.0.0.1:1/v1", "model": "model"},
        "workload": tree.get("workload"),
        "load": {**_ALONE, "seed": seed} if isinstance(seed, int) else dict(_ALONE),
    }


def _histogram(lengths: tuple[int, ...]) -> Histogram:
    import numpy as np

    values = np.asarray(lengths)
    least, most = int(values.min()), int(values.max())
    bins = max(1, min(_MOST_BINS, most - least))
    counts, edges = np.histogram(values, bins=bins, range=(least - 0.5, most + 0.5))
    median, p95 = np.percentile(values, [50, 95])
    return Histogram(
        edges=tuple(edges.tolist()),
        shares=tuple((100 * counts / len(values)).tolist()),
        least=least,
        median=float(median),
        mean=float(values.mean()),
        p95=float(p95),
        most=most,
    )
