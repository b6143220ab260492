from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ProfileError
from app.profiles.profile import HttpRequests
from app.profiles.requests import request_bodies


def workload(**keys: object) -> HttpRequests:
    return HttpRequests.model_validate(keys, context={"directory": Path("/")})


def test_no_body_is_a_get() -> None:
    assert request_bodies(workload()) == ()
    assert workload().method == "GET"


def test_bodies_take_turns_as_json_or_text() -> None:
    assert request_bodies(workload(body={"é": [1, 0.5]})) == ('{"é":[1,0.5]}'.encode(),)
    assert request_bodies(workload(bodies=["plain", {"a": None}])) == (b"plain", b'{"a":null}')
    assert workload(body=0).method == "POST"


def test_a_dataset_is_sent_line_by_line_as_it_stands(tmp_path: Path) -> None:
    dataset = tmp_path / "rows.jsonl"
    dataset.write_bytes(b'{"a":  1}\n\n[2]\r\n')
    assert request_bodies(workload(dataset=str(dataset))) == (b'{"a":  1}', b"[2]")


@pytest.mark.parametrize(("content", "says"), [(b"{}\nx\n", "rows.jsonl:2: not JSON"), (b"\n", "holds no request")])
def test_a_bad_dataset_is_told_by_its_line(tmp_path: Path, content: bytes, says: str) -> None:
    dataset = tmp_path / "rows.jsonl"
    dataset.write_bytes(content)
    with pytest.raises(ProfileError, match=says):
        request_bodies(workload(dataset=str(dataset)))
