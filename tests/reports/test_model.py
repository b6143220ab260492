from __future__ import annotations

import msgspec
import pytest

from reports.model import Report, read_report


def test_a_report_survives_its_json(full_report: Report) -> None:
    assert read_report(msgspec.json.encode(full_report)) == full_report


@pytest.mark.parametrize("text", [b"", b"{}", b'{"schema": 2}', b"[]"])
def test_what_is_no_report_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a report of schema 1"):
        read_report(text)
