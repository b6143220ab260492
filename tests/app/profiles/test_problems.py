from __future__ import annotations

import pytest

from app.profiles.problems import did_you_mean


@pytest.mark.parametrize(
    ("name", "known_names", "suggestion"),
    [
        ("regoins", ("regions", "providers"), "regions"),
        ("H100-SXM5-80GB", ("h100-sxm5-80gb", "l4"), "h100-sxm5-80gb"),
        ("offer", ("power_w", "provider"), None),
        ("FETCH", ("PATCH", "POST"), None),
        ("aws/none", ("aws/inf2.xlarge", "aws/g6.xlarge"), None),
        ("acme/c3", ("acme/c2@here", "other/x"), "acme/c2@here"),
        ("min", ("ms", "s", "m", "h"), "m"),
    ],
)
def test_misspelled_name_is_suggested_only_if_similar(
    name: str, known_names: tuple[str, ...], suggestion: str | None
) -> None:
    assert did_you_mean(name, known_names) == (None if suggestion is None else f"Did you mean {suggestion!r}?")
