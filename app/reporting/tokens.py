"""Token times and rates, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

from app.records.result import Stage
from app.reporting.quantities import stage_quantity
from reports import model


def token_rows(stages: Sequence[Stage]) -> tuple[model.TokenRow, ...]:
    """Of stages whose answers told anything of tokens, warm-ups left out."""
    return tuple(_row(stage) for stage in stages if stage.kind != "warmup" and _has_tokens(stage))


def _has_tokens(stage: Stage) -> bool:
    return "ttft_ms" in stage.metrics or "output_tokens" in stage.metrics


def _row(stage: Stage) -> model.TokenRow:
    return model.TokenRow(
        stage=f"{stage.name} #{stage.repeat}" if stage.repeat > 1 else stage.name,
        ttft_p50=stage_quantity(stage, "ttft_ms", "p50"),
        ttft_p95=stage_quantity(stage, "ttft_ms", "p95"),
        ttft_p99=stage_quantity(stage, "ttft_ms", "p99"),
        tpot_p50=stage_quantity(stage, "tpot_ms", "p50"),
        tpot_p95=stage_quantity(stage, "tpot_ms", "p95"),
        itl_p50=stage_quantity(stage, "itl_ms", "p50"),
        itl_p99=stage_quantity(stage, "itl_ms", "p99"),
        icl_p99=stage_quantity(stage, "icl_ms", "p99"),
        coalesced=stage_quantity(stage, "coalesced_share"),
        output_tokens=stage_quantity(stage, "output_tokens", "mean"),
        tokens_per_s=stage_quantity(stage, "output_tokens_per_s"),
    )
