"""Which variants a chart can rely on, and the order in which their families take their colours."""

from __future__ import annotations

from reports.local_model import LocalSection, VariantRow


def relied_on(local: LocalSection) -> list[VariantRow]:
    """The fastest family first, for not all can be drawn."""
    kept = [one for one in local.variants if one.state in ("best", "measured")]
    fastest: dict[str, float] = {}
    for one in kept:
        fastest[one.family] = max(fastest.get(one.family, 0.0), one.throughput.value or 0.0)
    return sorted(kept, key=lambda one: (-fastest[one.family], one.family, one.batch))


def families_of(local: LocalSection) -> list[str]:
    """As `relied_on` has them; what ended early last."""
    return list(dict.fromkeys(one.family for one in (*relied_on(local), *local.variants)))
