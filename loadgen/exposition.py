"""Format metrics in the Prometheus text exposition format (version 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence


class BucketHistogram:
    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def format_lines(self, name: str, label: str = "") -> Iterator[str]:
        """Yield the samples of the histogram. `label` is an additional label of each sample, such
        as `model_name="m"`."""
        cumulative_count = 0
        prefix, labels = (f"{label},", f"{{{label}}}") if label else ("", "")
        for bound, count in zip((*map(repr, self._bounds), "+Inf"), self._counts, strict=True):
            cumulative_count += count
            yield f'{name}_bucket{{{prefix}le="{bound}"}} {cumulative_count}'
        yield f"{name}_sum{labels} {self._sum!r}"
        yield f"{name}_count{labels} {cumulative_count}"


def format_heading(name: str, metric_type: str, help_text: str) -> tuple[str, str]:
    return f"# HELP {name} {help_text}", f"# TYPE {name} {metric_type}"
