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
MORE_PAYLOADS = (
    "<img src=//example.invalid/x.png>",
    "<img srcset='//example.invalid/x 1x' src>",
    "<body onload=window.hit=1>",
    "<base href=//example.invalid/>",
    "<meta http-equiv=refresh content='0;url=//example.invalid'>",
    "<object data=//example.invalid/x></object>",
    "<embed src=//example.invalid/x>",
    "<form action=//example.invalid><input autofocus onfocus=window.hit=1></form>",
    "<math><mtext></mtext><mglyph><style><!--</style><img title=--&gt;&lt;img src=1 onerror=window.hit=1&gt;>",
    "<noscript><p title='</noscript><img src=x onerror=window.hit=1>'>",
    "<template><script>window.hit=1</script></template>",
    "<details open ontoggle=window.hit=1>",
    "<video><source onerror=window.hit=1></video>",
    "<audio src=//example.invalid/x onerror=window.hit=1>",
    "<svg><a xlink:href=javascript:window.hit=1><text>x</text></a></svg>",
    "<svg><use href=//example.invalid/x.svg#x></use></svg>",
    "<svg><foreignObject><iframe src=//example.invalid></iframe></foreignObject></svg>",
    "<svg><animate onbegin=window.hit=1 attributeName=x dur=1s>",
    "</text></svg><script>window.hit=1</script>",
    "</pre></td></table></section></main><script>window.hit=1</script>",
    "</caption></figcaption></abbr></code><p>out</p>",
    "--></script><script>window.hit=1</script><!--",
    "<![CDATA[<script>window.hit=1</script>]]>",
    "<?xml version='1.0'?><script>window.hit=1</script>",
    "&lt;script&gt;window.hit=1&lt;/script&gt;",
    "&#x3c;script&#x3e;window.hit=1&#x3c;/script&#x3e;",
    "\\u003cscript\\u003ewindow.hit=1\\u003c/script\\u003e",
    "\"}]};window.hit=1;//",
    "';window.hit=1;'",
    "javascript:window.hit=1",
    "data:text/html,<script>window.hit=1</script>",
    "datum.value; window.hit=1; constructor.constructor('window.hit=1')()",
    "\ufeff\u202e\u2066gnp.exe\u2069 \U0001f4a5\u0301",
    "*/ body { background: url(//example.invalid/x) } /*",
    "x" * 3000 + "<b>",
)  # fmt: skip
_DECIDING_FIELDS = {  # fields by which a renderer decides
    "basis", "validity", "verdict", "outcome", "level", "metric", "percentile", "comparator", "kind",
    "counts", "state", "slo", "sizing_method", "latency_metric",
}  # fmt: skip


_Any = TypeVar("_Any", Report, PlanReport)


def hostile(report: _Any, payload: str) -> _Any:
    """The report with `payload` in front of every free text."""
    return msgspec.convert(_poisoned(msgspec.to_builtins(report), payload), type=type(report))


def _poisoned(value: Any, payload: str) -> Any:
    if isinstance(value, dict):
        return {
            name: item if name in _DECIDING_FIELDS and isinstance(item, str) else _poisoned(item, payload)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_poisoned(item, payload) for item in value]
    return payload + value if isinstance(value, str) else value
