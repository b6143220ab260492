from __future__ import annotations

from app.gui.charts.pens import entity_style


def test_measured_entity_has_the_same_style_in_every_chart() -> None:
    sources = ("http://a", "gpu1", "host", "http://b", "model")
    assert [entity_style(source, sources) for source in sources] == [1, 1, 0, 2, 4], "servers have the remaining styles"
    assert entity_style("http://b", ("http://b", "host")) == 1
    assert entity_style("p95") == entity_style("p95", ("p50", "p95")) != entity_style("p50")
