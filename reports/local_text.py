"""A local run in a terminal: its variants in a table, and of the best one what was found besides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports import formatting
from reports.local_model import ColdStartRow, LocalSection, VariantRow
from reports.model import Quantity

_MOST_ROWS = 12
_MARKS = {"best": "", "measured": "", "INVALID": "INVALID", "ended early": "ended early", "left out": "left out"}


def variant_lines(local: LocalSection, width: int) -> list[list[str]]:
    """Rows of cells, the header first. Times are in ms. Where they would be wider than `width`, columns that say less
    are left out."""
    shown = _chosen(local.variants)
    if not any(one.scenarios for one in shown):
        return []
    columns = [["variant", *(_named(one, shown) for one in shown)]]
    columns += [["p50 / p99", *map(_alone, shown)], ["most /s", *map(_most, shown)]]
    columns += [["SLO" if any(one.slo for one in shown) else "", *map(_result, shown)]]
    if any(one.arrivals for one in shown):
        columns.insert(2, ["arrivals /s", *map(_arrivals, shown)])
    less = [["kept", *map(_kept, shown)]] if any(one.accuracy for one in shown) else []
    less += [[f"{name} p99", *(_p99(one, name) for one in shown)] for name in _waiting(shown)]
    room = width - sum(map(_wide, columns))
    for column in less:
        if (room := room - _wide(column)) >= 0:
            columns.insert(len(columns) - 1, column)
    return [list(row) for row in zip(*columns, strict=True)]


def more_lines(local: LocalSection) -> list[str]:
    """What the table has no room for: how many more, and why variants ended early or were left out."""
    hidden = len(local.variants) - _MOST_ROWS
    more = [f"… and {hidden} more in the report"] if hidden > 0 else []
    reasons: dict[str, list[str]] = {}
    for one in local.variants:
        if one.why is not None:
            reasons.setdefault(f"{one.state}: {one.why}", []).append(one.name)
    told = [f"{_names(names)}, {why}" for why, names in reasons.items()]
    return [*more, *told[:_MOST_ROWS]]


def best_lines(local: LocalSection) -> list[tuple[str, list[str]]]:
    """Titled lines of the variant that the headlines are of."""
    shown = next((one for one in local.variants if one.name == local.shown), None)
    if shown is None:
        return []
    return [
        ("Limit", [f"{shown.name}: {shown.bound.sentence}"] if shown.bound else []),
        ("Batches", [*_laws(local, shown)]),
        ("Start", [*_cold_starts(local, shown)]),
        ("Outputs", [*_outputs(shown)]),
        ("Strays", [*_strays(local.variants)]),
    ]


def _chosen(variants: Sequence[VariantRow]) -> list[VariantRow]:
    """In their order: all where there is room, else the best, what no other dominates, and the fastest."""
    if len(variants) <= _MOST_ROWS:
        return list(variants)
    ranked = sorted(variants, key=lambda one: (one.state != "best", not one.on_front, -(one.throughput.value or 0.0)))[
        :_MOST_ROWS
    ]
    return [one for one in variants if one in ranked]


def _named(one: VariantRow, shown: Sequence[VariantRow]) -> str:
    return f"{one.name} (best)" if one.state == "best" and len(shown) > 1 else one.name


def _result(one: VariantRow) -> str:
    return _MARKS[one.state] or one.slo or ""


def _wide(column: Sequence[str]) -> int:
    return max(map(len, column)) + 2


def _waiting(variants: Sequence[VariantRow]) -> list[str]:
    """Scenarios in which calls wait for their turn."""
    found = dict.fromkeys(row.scenario for one in variants for row in one.scenarios)
    return [name for name in ("server", "multi-stream") if name in found]


def _alone(one: VariantRow) -> str:
    """Of one call after another, or of the first scenario."""
    answering = [row for row in one.scenarios if not row.tried]
    row = next((row for row in answering if row.scenario == "single-stream"), None)
    row = row or next(iter(answering), None)
    return "–" if row is None else _doubted(row.trust, f"{formatting.value(row.p50)} / {formatting.value(row.p99)}")


def _most(one: VariantRow) -> str:
    return _doubted(one.throughput.trust, formatting.value(one.throughput)) if one.scenarios else "–"


def _arrivals(one: VariantRow) -> str:
    return "–" if one.arrivals is None else _doubted(one.arrivals.trust, formatting.value(one.arrivals))


def _p99(one: VariantRow, scenario: str) -> str:
    """Of several rates of arrivals at the highest; of those that a search only tried, none."""
    rows = [row for row in one.scenarios if row.scenario == scenario and not row.tried]
    row = max(rows, key=lambda row: row.rate_per_s or 0.0, default=None)
    return "–" if row is None else _doubted(row.trust, formatting.value(row.p99))


def _doubted(trust: str, text: str) -> str:
    return f"({text})" if trust == "INVALID" else text


def _kept(one: VariantRow) -> str:
    if one.accuracy is None:
        return "–"
    return "(ref)" if one.accuracy.kept is None else formatting.value_unit(one.accuracy.kept)


def _laws(local: LocalSection, shown: VariantRow) -> Iterator[str]:
    for law in (one for one in local.laws if one.family == shown.family):
        batches = f"{min(law.batches)} to {max(law.batches)}" if law.batches else "none"
        fit = "" if law.r2 is None else f", r² {law.r2:.4f}"
        if law.t0.value is None or law.t1.value is None:
            yield f"{law.family}: {law.reason or law.t0.reason or 'no law'}"
            continue
        doubt = f"; {law.reason}" if law.reason else ""
        yield (
            f"{law.family}: a call of b rows takes {formatting.value(law.t0)} + {formatting.value(law.t1)} b ms, "
            f"batch {batches}{fit}{doubt}"
        )


def _cold_starts(local: LocalSection, shown: VariantRow) -> Iterator[str]:
    """Its own, or those of the variant that is opened alike."""
    alike = (one for one in local.variants if _opened(one) == _opened(shown) and one.cold_starts)
    for row in next((one.cold_starts for one in alike), ()):
        kind = "with the optimised model kept" if row.is_cached else "cold"
        yield f"{kind}: {_parts(local.cold_parts, row)} (medians of {row.starts})"


def _opened(one: VariantRow) -> tuple[object, ...]:
    return one.sha256, one.provider, one.threads, one.devices


def _parts(names: Sequence[str], row: ColdStartRow) -> str:
    *parts, whole = (formatting.value_unit(one) for one in row.p50)
    told = ", ".join(f"{name} {part}" for name, part in zip(names, parts, strict=False))
    return f"{whole}, at worst {formatting.value_unit(row.worst[-1])}: {told}"


def _outputs(shown: VariantRow) -> Iterator[str]:
    accuracy, fidelity = shown.accuracy, shown.fidelity
    if accuracy is not None:
        beside = "" if accuracy.reference is None else f", fp32 {formatting.value_unit(accuracy.reference)}"
        p = "" if accuracy.p_value is None else f" (p {formatting.p_value(accuracy.p_value)}, {accuracy.test})"
        yield f"{accuracy.metric} {formatting.quantity(accuracy.value)}{beside}{p}"
    if fidelity is not None and fidelity.is_equal:
        yield f"equal to fp32 on the CPU in {formatting.count(fidelity.rows)} rows of the measured run"
    elif fidelity is not None:
        told = [
            _told("agreement", fidelity.agreement),
            _told("least cosine", fidelity.cosine_least),
            _told("off by at most", fidelity.max_abs),
            _told("SQNR", fidelity.sqnr),
        ]
        beside = f"beside fp32 on the CPU, {formatting.count(fidelity.rows)} rows of the measured run"
        yield f"{beside}: {', '.join(part for part in told if part)}"


def _told(name: str, one: Quantity) -> str:
    return "" if one.value is None else f"{name} {formatting.value_unit(one)}"


def _strays(variants: Sequence[VariantRow]) -> Iterator[str]:
    for one in variants:
        strays = [f"{part.operator} on {part.provider}" for part in one.placements if part.is_stray]
        if strays:
            yield f"{one.name}: {', '.join(strays)}, where {one.provider} was asked for"


def _names(names: Sequence[str]) -> str:
    shown = "; ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
