"""Texts that try to become markup, script or addresses, put into every free text of a report."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from reports.model import PlanReport, Report

PAYLOADS = (
    "<script>window.hit=1</script>",
    "</script><script>window.hit=1</script>",
    "</title></style></textarea><img src=x onerror=window.hit=1>",
    "<svg/onload=window.hit=1>",
    "\" onmouseover=\"window.hit=1\" x=\"",
    "' autofocus onfocus='window.hit=1",
    "<!--<script>",
    "]]><svg><script>window.hit=1</script>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<a href=javascript:window.hit=1>x</a>",
    "<link rel=stylesheet href=//example.invalid/x.css>",
    "{{ 7 * 7 }}{% raw %}",
    "${window.hit=1}`",
    "\u2028\u2029\u0000&lt;script&gt;&#60;b&#62;",
    "url(#clip1) @import '//example.invalid'; }",
)  # fmt: skip
_MEANT = {  # fields a renderer decides by
    "basis", "trust", "verdict", "judgement", "outcome", "level", "metric", "percentile", "comparator", "kind",
    "counts", "state", "slo", "settled", "latency_metric",
}  # fmt: skip


_Any = TypeVar("_Any", Report, PlanReport)


def hostile(report: _Any, payload: str) -> _Any:
    """The report with `payload` before every text that is free."""
    return msgspec.convert(_poisoned(msgspec.to_builtins(report), payload), type=type(report))


def _poisoned(value: Any, payload: str) -> Any:
    if isinstance(value, dict):
        return {
            name: one if name in _MEANT and isinstance(one, str) else _poisoned(one, payload)
            for name, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_poisoned(one, payload) for one in value]
    return payload + value if isinstance(value, str) else value
