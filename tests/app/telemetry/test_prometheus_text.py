from __future__ import annotations

import pytest

from app.telemetry.prometheus_text import Sample, samples


def test_labels_are_read_as_they_are_meant() -> None:
    page = 'up{a="1" , b = "two, \\"}\\" \\\\ three\\nfour",} 1.5 1712345678901\nplain 2\n'
    first, second = samples(page)
    assert first.labels() == {"a": "1", "b": 'two, "}" \\ three\nfour'}
    assert (first.name, first.value) == ("up", 1.5)
    assert second == Sample("plain", "", 2)
    assert second.labels() == {}


@pytest.mark.parametrize("text", ["a", 'a=1,b="2"', '="1"', 'a="1"b="2"'])
def test_labels_that_are_none_end_the_reading_of_labels(text: str) -> None:
    assert Sample("up", text, 1).labels() == {}
