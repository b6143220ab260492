"""Render a local run for a terminal: a table of the variants, and further results of the headline
variant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from reports import formatting
from reports.local_model import ColdStartRow, LocalSection, VariantRow
from reports.marks import dim_undersampled, shown_width
from reports.model import Quantity

_MAX_ROWS = 12


def variant_table(local: LocalSection, width: int, write_state: Callable[[str], str] = str) -> list[list[str]]:
    """Build the table of variants as rows of cells, header first. Times are in ms. Less important
    columns are omitted if the table would be wider than `width`."""
    shown = _select_variants(local.variants)
    if not any(variant.scenarios for variant in shown):
        return []
    columns = [["variant", *(_variant_label(variant, shown) for variant in shown)]]
    columns += [["p50 / p99", *map(_sequential_cell, shown)], ["infer/s", *map(_throughput_cell, shown)]]
    columns += [
        [
            "SLO" if any(variant.slo for variant in shown) else "",
            *(
                formatting.display_state(variant.slo or "")
                if variant.state in ("best", "measured")
                else write_state(variant.state)
                for variant in shown
            ),
        ]
    ]
    if any(variant.arrivals for variant in shown):
        columns.insert(2, ["max calls/s", *map(_arrivals_cell, shown)])
    optional_columns = [["retained", *map(_retained_cell, shown)]] if any(variant.accuracy for variant in shown) else []
    optional_columns += [
        [f"p99 {name}", *(_p99_cell(variant, name) for variant in shown)] for name in _queueing_scenarios(shown)
    ]
    room = width - sum(map(_column_width, columns))
    for column in optional_columns:
        if (room := room - _column_width(column)) >= 0:
            columns.insert(len(columns) - 1, column)
    return [list(row) for row in zip(*columns, strict=True)]


def remaining_variant_lines(local: LocalSection) -> list[str]:
    """Return lines for what the table omits: the number of further variants, and the reasons why
    variants ended early or were skipped."""
    hidden = len(local.variants) - _MAX_ROWS
    more = [f"… and {hidden} more in the report"] if hidden > 0 else []
    reasons: dict[str, list[str]] = {}
    for variant in local.variants:
        if variant.reason is not None:
            reasons.setdefault(f"{formatting.display_state(variant.state)}: {variant.reason}", []).append(variant.name)
    reason_lines = [f"{_join_names(names)}, {reason}" for reason, names in reasons.items()]
    return [*more, *reason_lines[:_MAX_ROWS]]


def headline_variant_lines(local: LocalSection) -> list[tuple[str, list[str]]]:
    """Return titled groups of lines about the variant that provides the headline numbers."""
    shown = next((variant for variant in local.variants if variant.name == local.headline_variant), None)
    if shown is None:
        return []
    return [
        ("Bottleneck", [f"{shown.name}: {shown.bottleneck.sentence}"] if shown.bottleneck else []),
        ("Batching", [*_batch_lines(local, shown)]),
        ("Cold start", [*_cold_start_lines(local, shown)]),
        ("Outputs", [*_output_lines(shown)]),
        ("Fallback", [*_fallback_lines(local.variants)]),
    ]


def _select_variants(variants: Sequence[VariantRow]) -> list[VariantRow]:
    """Select the variants to show, preserving their order. If there are too many, the best variant,
    variants on the Pareto front and the fastest variants take precedence."""
    if len(variants) <= _MAX_ROWS:
        return list(variants)
    ranked = sorted(
        variants,
        key=lambda variant: (variant.state != "best", not variant.is_on_frontier, -(variant.throughput.value or 0.0)),
    )[:_MAX_ROWS]
    return [variant for variant in variants if variant in ranked]


def _variant_label(variant: VariantRow, shown: Sequence[VariantRow]) -> str:
    return f"{variant.name} (best)" if variant.state == "best" and len(shown) > 1 else variant.name


def _column_width(column: Sequence[str]) -> int:
    return max(map(shown_width, column)) + 2


def _queueing_scenarios(variants: Sequence[VariantRow]) -> list[str]:
    """Return the names of the scenarios in which calls queue."""
    scenarios = dict.fromkeys(row.scenario for variant in variants for row in variant.scenarios)
    return [name for name in ("server", "multi-stream") if name in scenarios]


def _sequential_cell(variant: VariantRow) -> str:
    """Return p50 and p99 of the single-stream scenario, or else of the first scenario."""
    stages = [row for row in variant.scenarios if not row.tried]
    row = next((row for row in stages if row.scenario == "single-stream"), None)
    row = row or next(iter(stages), None)
    return "–" if row is None else _mark_invalid(row.validity, f"{_value_text(row.p50)} / {_value_text(row.p99)}")


def _throughput_cell(variant: VariantRow) -> str:
    return (
        _mark_invalid(variant.throughput.validity, formatting.format_value(variant.throughput))
        if variant.scenarios
        else "–"
    )


def _arrivals_cell(variant: VariantRow) -> str:
    return (
        "–"
        if variant.arrivals is None
        else _mark_invalid(variant.arrivals.validity, formatting.format_value(variant.arrivals))
    )


def _p99_cell(variant: VariantRow, scenario: str) -> str:
    """Return the p99 at the highest arrival rate, excluding rates that a search only probed."""
    rows = [row for row in variant.scenarios if row.scenario == scenario and not row.tried]
    row = max(rows, key=lambda row: row.rate_per_s or 0.0, default=None)
    return "–" if row is None else _mark_invalid(row.validity, _value_text(row.p99))


def _value_text(quantity: Quantity) -> str:
    return dim_undersampled(quantity, formatting.format_value(quantity))


def _mark_invalid(trust: str, text: str) -> str:
    return f"({text})" if trust == "INVALID" else text


def _retained_cell(variant: VariantRow) -> str:
    if variant.accuracy is None:
        return "–"
    return "(ref)" if variant.accuracy.retained is None else formatting.format_value_unit(variant.accuracy.retained)


def _batch_lines(local: LocalSection, shown: VariantRow) -> Iterator[str]:
    for batch_law in (candidate for candidate in local.batch_models if candidate.family == shown.family):
        batches = f"{min(batch_law.batches)} to {max(batch_law.batches)}" if batch_law.batches else "none"
        fit = "" if batch_law.r2 is None else f", r² {batch_law.r2:.4f}"
        if batch_law.t0.value is None or batch_law.t1.value is None:
            yield f"{batch_law.family}: {batch_law.reason or batch_law.t0.reason or 'no fit'}"
            continue
        caveat = f"; {batch_law.reason}" if batch_law.reason else ""
        yield (
            f"{batch_law.family}: call time = {formatting.format_value(batch_law.t0)} ms + "
            f"{formatting.format_value(batch_law.t1)} ms × batch size, fitted to batch {batches}{fit}{caveat}"
        )


def _cold_start_lines(local: LocalSection, shown: VariantRow) -> Iterator[str]:
    """Yield lines about the cold starts of the variant, or of another variant with the same file,
    provider, threads and devices."""
    loaded_alike = (
        variant for variant in local.variants if _load_key(variant) == _load_key(shown) and variant.cold_starts
    )
    for row in next((variant.cold_starts for variant in loaded_alike), ()):
        kind = "cached optimized model" if row.is_cached else "cold"
        yield f"{kind}: {_start_text(local.cold_parts, row)} (median of {row.starts})"


def _load_key(variant: VariantRow) -> tuple[object, ...]:
    return variant.sha256, variant.provider, variant.threads, variant.devices


def _start_text(names: Sequence[str], row: ColdStartRow) -> str:
    *parts, total = (formatting.format_value_unit(quantity) for quantity in row.p50)
    listed = ", ".join(f"{name} {part}" for name, part in zip(names, parts, strict=False))
    return f"{total}, max {formatting.format_value_unit(row.worst[-1])}: {listed}"


def _output_lines(shown: VariantRow) -> Iterator[str]:
    accuracy, fidelity = shown.accuracy, shown.fidelity
    if accuracy is not None:
        comparison = "" if accuracy.reference is None else f", fp32 {formatting.format_value_unit(accuracy.reference)}"
        p = "" if accuracy.p_value is None else f" (p {formatting.format_p_value(accuracy.p_value)}, {accuracy.test})"
        yield f"{accuracy.metric} {formatting.format_quantity(accuracy.value)}{comparison}{p}"
    if fidelity is not None and fidelity.is_equal:
        yield f"identical to fp32 on the CPU in {formatting.format_count(fidelity.rows)} rows of the measured run"
    elif fidelity is not None:
        metrics = [
            _named_value("agreement", fidelity.agreement),
            _named_value("min cosine", fidelity.cosine_min),
            _named_value("max abs difference", fidelity.max_abs),
            _named_value("SQNR", fidelity.sqnr),
        ]
        comparison = f"compared with fp32 on the CPU, {formatting.format_count(fidelity.rows)} rows of the measured run"
        yield f"{comparison}: {', '.join(part for part in metrics if part)}"


def _named_value(name: str, quantity: Quantity) -> str:
    return "" if quantity.value is None else f"{name} {formatting.format_value_unit(quantity)}"


def _fallback_lines(variants: Sequence[VariantRow]) -> Iterator[str]:
    for variant in variants:
        fallback_nodes = [
            f"{placement.operator} on {placement.provider}" for placement in variant.placements if placement.is_fallback
        ]
        if fallback_nodes:
            yield f"{variant.name}: {', '.join(fallback_nodes)}, instead of {variant.provider}"


def _join_names(names: Sequence[str]) -> str:
    shown = "; ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
