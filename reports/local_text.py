"""Render a local run for a terminal: a table of the variants, and further results of the headline
variant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from reports import formatting
from reports.local_model import BottleneckRow, ColdStartRow, LocalSection, VariantRow
from reports.marks import compute_display_width, dim_undersampled
from reports.model import Quantity

_MAX_ROWS = 12
_NO_VALUE = "–"


def build_variant_table(local: LocalSection, width: int, write_state: Callable[[str], str] = str) -> list[list[str]]:
    """Build the table of variants as rows of cells, header row first. Times are in ms. Less
    important columns are omitted if the table would be wider than `width` characters."""
    shown_variants = _select_variants(local.variants)
    if not any(variant.is_measured for variant in shown_variants):
        return []
    columns = [["variant", *(_format_variant_label(variant, shown_variants) for variant in shown_variants)]]
    if local.is_language_model:
        columns += [
            [name, *(_format_best_rate(variant, name) for variant in shown_variants)]
            for name in ("decode tok/s", "prefill tok/s")
            if any(_list_rates(variant, name) for variant in shown_variants)
        ]
    else:
        columns += [
            ["p50 / p99", *map(_format_single_stream_cell, shown_variants)],
            ["infer/s", *map(_format_throughput_cell, shown_variants)],
        ]
    columns += [
        [
            "SLO" if any(variant.slo for variant in shown_variants) else "",
            *(
                formatting.display_state(variant.slo or "")
                if variant.state in ("best", "measured")
                else write_state(variant.state)
                for variant in shown_variants
            ),
        ]
    ]
    if any(variant.arrivals for variant in shown_variants):
        columns.insert(2, ["max calls/s", *map(_format_arrivals_cell, shown_variants)])
    optional_columns = (
        [["retained", *map(_format_retained_cell, shown_variants)]]
        if any(variant.accuracy for variant in shown_variants)
        else []
    )
    if local.is_language_model:
        optional_columns += [
            ["peak memory", *(formatting.format_value_unit(variant.peak_memory) for variant in shown_variants)],
            ["file size", *(_format_file_size(variant) for variant in shown_variants)],
        ]
    optional_columns += [
        [f"p99 {name}", *(_format_p99_cell(variant, name) for variant in shown_variants)]
        for name in _list_queueing_scenarios(shown_variants)
    ]
    remaining_width = width - sum(map(_compute_column_width, columns))
    for column in optional_columns:
        if (remaining_width := remaining_width - _compute_column_width(column)) >= 0:
            columns.insert(len(columns) - 1, column)
    return [list(row) for row in zip(*columns, strict=True)]


def build_test_table(local: LocalSection, width: int, write_state: Callable[[str], str] = str) -> list[list[str]]:
    """Build the table of the tests of language models as rows of cells, header row first; empty for
    other models. Times are in ms. Less important columns are omitted if the table would be wider
    than `width` characters."""
    pairs = [(variant, row) for variant in _select_variants(local.variants) for row in variant.tests]
    rows = [row for _, row in pairs]
    has_several_variants = len({variant.name for variant, _ in pairs}) > 1
    columns = {
        "variant": [variant.name if has_several_variants else _NO_VALUE for variant, _ in pairs],
        "test": [row.label for row in rows],
        "prefill tok/s": [_format_rate(row.prefill) for row in rows],
        "decode tok/s": [_format_rate(row.decode) for row in rows],
        "p50 TTFT": [_format_optional(row.ttft_p50) for row in rows],
        "p99 TTFT": [_format_optional(row.ttft_p99) for row in rows],
        "p50 ITL": [_format_optional(row.itl_p50) for row in rows],
        "p99 ITL": [_format_optional(row.itl_p99) for row in rows],
        "p50 E2E": [_format_optional(row.e2e) for row in rows],
        "n": [formatting.format_count(row.repetitions) for row in rows],
        "validity": [write_state(row.validity) for row in rows],
    }
    columns = {title: cells for title, cells in columns.items() if set(cells) - {_NO_VALUE}}
    for title in _OPTIONAL_TEST_COLUMNS:
        if sum(_compute_column_width([title, *cells]) for title, cells in columns.items()) > width:
            columns.pop(title, None)
    return [list(columns), *map(list, zip(*columns.values(), strict=True))] if rows else []


_OPTIONAL_TEST_COLUMNS = ("p50 E2E", "p99 TTFT", "n", "p99 ITL", "p50 TTFT")
"""Columns that are omitted if the table is too wide, in this order."""


def _format_rate(quantity: Quantity | None) -> str:
    """Format a rate with its interval, without its unit."""
    if quantity is None:
        return _NO_VALUE
    interval_text = formatting.format_interval(quantity)
    value_text = formatting.format_value(quantity)
    return _mark_invalid(quantity.validity, value_text if interval_text is None else f"{value_text} ({interval_text})")


def _format_optional(quantity: Quantity | None) -> str:
    return _NO_VALUE if quantity is None else _mark_invalid(quantity.validity, _format_value(quantity))


def _list_rates(variant: VariantRow, name: str) -> list[Quantity]:
    """Return the measured rates of the tests of a variant, fastest first, then INVALID rates."""
    rates = [row.decode if name == "decode tok/s" else row.prefill for row in variant.tests if row.repeat == 1]
    measured_rates = [rate for rate in rates if rate is not None and rate.value is not None]
    return sorted(measured_rates, key=lambda rate: (rate.validity == "INVALID", -(rate.value or 0.0)))


def _format_best_rate(variant: VariantRow, name: str) -> str:
    return _format_rate(next(iter(_list_rates(variant, name)), None))


def _format_file_size(variant: VariantRow) -> str:
    return formatting.NOT_AVAILABLE if variant.size_bytes is None else formatting.format_size(variant.size_bytes)


def build_remaining_variant_lines(local: LocalSection) -> list[str]:
    """Return lines about what the table of variants omits: the number of further variants, and the
    reasons why variants ended early or were skipped."""
    hidden_count = len(local.variants) - _MAX_ROWS
    more_lines = [f"… and {hidden_count} more in the report"] if hidden_count > 0 else []
    names_by_reason: dict[str, list[str]] = {}
    for variant in local.variants:
        if variant.reason is not None:
            names_by_reason.setdefault(f"{formatting.display_state(variant.state)}: {variant.reason}", []).append(
                variant.name
            )
    reason_lines = [f"{_join_names(names)}, {reason}" for reason, names in names_by_reason.items()]
    return [*more_lines, *reason_lines[:_MAX_ROWS]]


def build_headline_variant_lines(local: LocalSection) -> list[tuple[str, list[str]]]:
    """Return titled groups of lines about the variant that provides the headline numbers."""
    headline_variant = next((variant for variant in local.variants if variant.name == local.headline_variant), None)
    if headline_variant is None:
        return []
    return [
        ("Bottleneck", [*_build_bottleneck_lines(headline_variant)]),
        ("Quality", [*_build_quality_lines(local.variants)]),
        ("Batching", [*_build_batch_lines(local, headline_variant)]),
        ("Cold start", [*_build_cold_start_lines(local, headline_variant)]),
        ("Outputs", [*_build_output_lines(headline_variant)]),
        ("Fallback", [*_build_fallback_lines(local.variants)]),
    ]


def _build_bottleneck_lines(variant: VariantRow) -> Iterator[str]:
    for phase, bottleneck in list_bottlenecks(variant):
        yield f"{variant.name}{phase and f', {phase}'}: {bottleneck.sentence}"


def list_bottlenecks(variant: VariantRow) -> list[tuple[str, BottleneckRow]]:
    """Return the bottlenecks of a variant, with the phase of a language model: prefill or decode."""
    phase = "decode" if variant.tests else ""
    bottlenecks = (("prefill", variant.prefill_bottleneck), (phase, variant.bottleneck))
    return [(name, bottleneck) for name, bottleneck in bottlenecks if bottleneck is not None]


def _build_quality_lines(variants: Sequence[VariantRow]) -> Iterator[str]:
    """Yield a line for each language model that predicted the text of the profile. The first of
    them is the reference of the others."""
    scored_variants = [variant for variant in variants if variant.text_quality is not None]
    for variant in scored_variants[:_MAX_ROWS]:
        quality = variant.text_quality
        assert quality is not None
        text = f"perplexity {formatting.format_quantity(quality.perplexity)}"
        if quality.ratio is None:
            yield f"{variant.name}: {text} on {formatting.format_count(quality.tokens)} tokens"
            continue
        parts = [
            _format_quality(name, value)
            for name, value in (
                ("ratio", quality.ratio),
                ("agreement", quality.agreement),
                ("KL divergence", quality.divergence),
            )
            if value is not None
        ]
        yield f"{variant.name}: {text}; compared with {scored_variants[0].name}: {', '.join(parts)}"


def _format_quality(name: str, quantity: Quantity) -> str:
    return f"{name} {formatting.format_quantity(quantity)}"


def _select_variants(variants: Sequence[VariantRow]) -> list[VariantRow]:
    """Select the variants to show in a table, preserving their order. If there are too many, the
    best variant takes precedence, then variants on the Pareto front, then the fastest variants."""
    if len(variants) <= _MAX_ROWS:
        return list(variants)
    top_variants = sorted(
        variants,
        key=lambda variant: (variant.state != "best", not variant.is_on_frontier, -(variant.throughput.value or 0.0)),
    )[:_MAX_ROWS]
    return [variant for variant in variants if variant in top_variants]


def _format_variant_label(variant: VariantRow, shown_variants: Sequence[VariantRow]) -> str:
    return f"{variant.name} (best)" if variant.state == "best" and len(shown_variants) > 1 else variant.name


def _compute_column_width(column: Sequence[str]) -> int:
    return max(map(compute_display_width, column)) + 2


def _list_queueing_scenarios(variants: Sequence[VariantRow]) -> list[str]:
    """Return the names of the scenarios in which calls queue."""
    scenarios = dict.fromkeys(row.scenario for variant in variants for row in variant.scenarios)
    return [name for name in ("server", "multi-stream") if name in scenarios]


def _format_single_stream_cell(variant: VariantRow) -> str:
    """Format the p50 and p99 latency of the single-stream scenario or, if it was not measured, of
    the first scenario."""
    stages = [row for row in variant.scenarios if not row.tried]
    row = next((row for row in stages if row.scenario == "single-stream"), None)
    row = row or next(iter(stages), None)
    return "–" if row is None else _mark_invalid(row.validity, f"{_format_value(row.p50)} / {_format_value(row.p99)}")


def _format_throughput_cell(variant: VariantRow) -> str:
    return (
        _mark_invalid(variant.throughput.validity, formatting.format_value(variant.throughput))
        if variant.scenarios
        else "–"
    )


def _format_arrivals_cell(variant: VariantRow) -> str:
    if variant.arrivals is None:
        return "–"
    bound_text = "≥ " if variant.is_arrivals_lower_bound else ""
    return _mark_invalid(variant.arrivals.validity, f"{bound_text}{formatting.format_value(variant.arrivals)}")


def _format_p99_cell(variant: VariantRow, scenario: str) -> str:
    """Format the p99 at the highest arrival rate. Rates that a search only probed are ignored."""
    rows = [row for row in variant.scenarios if row.scenario == scenario and not row.tried]
    row = max(rows, key=lambda row: row.rate_per_s or 0.0, default=None)
    return "–" if row is None else _mark_invalid(row.validity, _format_value(row.p99))


def _format_value(quantity: Quantity) -> str:
    return dim_undersampled(quantity, formatting.format_value(quantity))


def _mark_invalid(validity: str, text: str) -> str:
    return f"({text})" if validity == "INVALID" else text


def _format_retained_cell(variant: VariantRow) -> str:
    if variant.accuracy is None:
        return "–"
    return "n/a" if variant.accuracy.retained is None else formatting.format_value_unit(variant.accuracy.retained)


def _build_batch_lines(local: LocalSection, headline_variant: VariantRow) -> Iterator[str]:
    for batch_model in (candidate for candidate in local.batch_models if candidate.family == headline_variant.family):
        batches_text = f"{min(batch_model.batches)} to {max(batch_model.batches)}" if batch_model.batches else "none"
        fit_text = "" if batch_model.r2 is None else f", r² {batch_model.r2:.4f}"
        if batch_model.t0.value is None or batch_model.t1.value is None:
            yield f"{batch_model.family}: {batch_model.reason or batch_model.t0.reason or 'no fit'}"
            continue
        caveat_note = f"; {batch_model.reason}" if batch_model.reason else ""
        yield (
            f"{batch_model.family}: call time = {formatting.format_value(batch_model.t0)} ms + "
            f"{formatting.format_value(batch_model.t1)} ms × batch size, fitted to batch "
            f"{batches_text}{fit_text}{caveat_note}"
        )


def _build_cold_start_lines(local: LocalSection, headline_variant: VariantRow) -> Iterator[str]:
    """Yield lines about the cold starts of the variant. If the variant has none, use those of
    another variant with the same file, provider, threads and devices."""
    variants_with_same_load = (
        variant
        for variant in local.variants
        if _get_load_key(variant) == _get_load_key(headline_variant) and variant.cold_starts
    )
    for row in next((variant.cold_starts for variant in variants_with_same_load), ()):
        kind_text = "cached optimized model" if row.is_cached else "cold"
        yield f"{kind_text}: {_format_start(local.cold_parts, row)} (median of {row.starts})"


def _get_load_key(variant: VariantRow) -> tuple[object, ...]:
    return variant.sha256, variant.provider, variant.threads, variant.devices


def _format_start(part_names: Sequence[str], row: ColdStartRow) -> str:
    *part_texts, total = (formatting.format_value_unit(quantity) for quantity in row.p50)
    parts_text = ", ".join(f"{name} {part_text}" for name, part_text in zip(part_names, part_texts, strict=False))
    return f"{total}, max {formatting.format_value_unit(row.worst[-1])}: {parts_text}"


def _build_output_lines(variant: VariantRow) -> Iterator[str]:
    accuracy, fidelity = variant.accuracy, variant.fidelity
    if accuracy is not None:
        comparison_text = (
            "" if accuracy.reference is None else f", fp32 {formatting.format_value_unit(accuracy.reference)}"
        )
        p_value_text = (
            "" if accuracy.p_value is None else f" (p {formatting.format_p_value(accuracy.p_value)}, {accuracy.test})"
        )
        yield f"{accuracy.metric} {formatting.format_quantity(accuracy.value)}{comparison_text}{p_value_text}"
    if fidelity is not None and fidelity.is_equal:
        yield f"identical to fp32 on the CPU in {formatting.format_count(fidelity.rows)} rows of the measured run"
    elif fidelity is not None:
        metric_texts = [
            _format_named_value("agreement", fidelity.agreement),
            _format_named_value("min cosine", fidelity.cosine_min),
            _format_named_value("max abs difference", fidelity.max_abs),
            _format_named_value("SQNR", fidelity.sqnr),
        ]
        comparison_text = (
            f"compared with fp32 on the CPU, {formatting.format_count(fidelity.rows)} rows of the measured run"
        )
        yield f"{comparison_text}: {', '.join(metric_text for metric_text in metric_texts if metric_text)}"


def _format_named_value(name: str, quantity: Quantity) -> str:
    return "" if quantity.value is None else f"{name} {formatting.format_value_unit(quantity)}"


def _build_fallback_lines(variants: Sequence[VariantRow]) -> Iterator[str]:
    for variant in variants:
        fallback_nodes = [
            f"{placement.operator} on {placement.provider}" for placement in variant.placements if placement.is_fallback
        ]
        if fallback_nodes:
            yield f"{variant.name}: {', '.join(fallback_nodes)}, instead of {variant.provider}"


def _join_names(names: Sequence[str]) -> str:
    names_text = "; ".join(names[:3])
    return f"{names_text} and {len(names) - 3} more" if len(names) > 3 else names_text
