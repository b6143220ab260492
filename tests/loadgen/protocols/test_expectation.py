from time import perf_counter

import pytest

from loadgen.protocols.expectation import build_check, check_http_response, check_http_status
from loadgen.protocols.prepared import WorkloadError
from loadgen.transport.exchange import Exchange
from loadgen.workloads import Expectation


def find_error(expect: Expectation, body: bytes = b"", status: int = 200) -> str | None:
    exchange = Exchange(0, 0, 0, b"", lambda _: None, status=status, body=body)
    return build_check(expect)(exchange).error


@pytest.mark.parametrize(
    ("method", "status", "body", "error"),
    [
        ("GET", 200, b"{}", None),
        ("GET", 200, b"", "bad-output"),
        ("POST", 200, b"", "bad-output"),
        ("POST", 201, b"", None),
        ("POST", 204, b"", None),
        ("PUT", 200, b"", None),
        ("HEAD", 200, b"", None),
    ],
)
def test_empty_response_with_status_200_is_bad_output_for_get_and_post(
    method: str, status: int, body: bytes, error: str | None
) -> None:
    exchange = Exchange(0, 0, 0, b"", lambda _: None, status=status, body=body)
    assert build_check(None, method)(exchange).error == error
    assert build_check(Expectation(statuses=(status,)), method)(exchange).error is None


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, None), (204, None), (301, "bad-payload"), (404, "http-4xx"), (429, "http-4xx"), (500, "http-5xx")],
)
def test_only_status_is_checked_without_expectation(status: int, error: str | None) -> None:
    assert find_error(Expectation(), b"{}", status=status) == error
    assert build_check(None) is build_check(Expectation()) is check_http_response
    assert build_check(None, "PUT") is build_check(None, "HEAD") is check_http_status


def test_expected_statuses_replace_default_statuses() -> None:
    expect = Expectation(statuses=(404, 301))
    errors = [find_error(expect, status=status) for status in (404, 301, 403, 200, 503)]
    assert errors == [None, None, "http-4xx", "bad-output", "http-5xx"]


@pytest.mark.parametrize(
    ("pointer", "body", "resolves"),
    [
        ("/a/1/b", b'{"a": [0, {"b": 0}]}', True),
        ("/a/2", b'{"a": [0, 1]}', False),
        ("/a/01", b'{"a": [0, 1]}', False),
        ("/a/-", b'{"a": [0, 1]}', False),
        ("/x~1y/~0", b'{"x/y": {"~": null}}', True),
        ("", b"1", True),
        ("/", b'{"": 1}', True),
        ("/a/b", b'{"a": "text"}', False),
    ],
)
def test_expected_json_pointer_must_resolve(pointer: str, body: bytes, resolves: bool) -> None:
    assert find_error(Expectation(pointer=pointer), body) == (None if resolves else "bad-output")


@pytest.mark.parametrize(
    ("equals", "body", "is_equal"),
    [
        (b"1", b" 1.0", True),
        (b"1", b"true", False),
        (b"0", b"false", False),
        (b"null", b"null", True),
        (b'{"a": [1, "x"], "b": {}}', b'{"b": {}, "a": [1, "x"]}', True),
        (b'{"a": 1}', b'{"a": 1, "b": 2}', False),
        (b"[1, 2]", b"[2, 1]", False),
        (b"[true]", b"[1]", False),
    ],
)
def test_expected_value_is_compared_by_json_equality(equals: bytes, body: bytes, is_equal: bool) -> None:
    assert find_error(Expectation(equals=equals), body) == (None if is_equal else "bad-output")
    nested = b'{"v": %b}' % body
    assert find_error(Expectation(pointer="/v", equals=equals), nested) == (None if is_equal else "bad-output")


@pytest.mark.parametrize(
    ("expect", "body", "error"),
    [
        (Expectation(matches="ca[tr]s?$"), b"my cats", None),
        (Expectation(matches="^cat"), b"my cats", "bad-output"),
        (Expectation(matches="\\p{Greek}"), "λ".encode(), None),
        (Expectation(matches="x"), b"\xffx", None),
        (Expectation(pointer="/a", matches="^b.c$"), b'{"a": "bxc"}', None),
        (Expectation(pointer="/a", matches="^[12]$"), b'{"a": 2}', None),
        (Expectation(pointer="/a", matches="x", equals=b'"y"'), b'{"a": "x"}', "bad-output"),
        (Expectation(pointer="/a"), b"not JSON", "bad-payload"),
        (Expectation(equals=b"1"), b"[" * 100_000, "bad-payload"),
        (Expectation(matches="x"), b"y" * 2**20 + b"x", "bad-output"),
    ],
)
def test_body_is_checked_by_pattern_pointer_and_value(expect: Expectation, body: bytes, error: str | None) -> None:
    assert find_error(expect, body) == error


def test_body_of_failed_request_is_not_checked() -> None:
    assert find_error(Expectation(matches="x"), b"x", status=500) == "http-5xx"


def test_pattern_with_nested_quantifiers_is_matched_within_2_s() -> None:
    before_s = perf_counter()
    assert find_error(Expectation(matches="(a*)*(a|aa)+$"), b"a" * 100_000 + b"b") == "bad-output"
    assert perf_counter() - before_s < 2


@pytest.mark.parametrize(
    "expect",
    [Expectation(pointer="a"), Expectation(equals=b"{"), Expectation(matches="("), Expectation(matches="(?=a)")],
)
def test_invalid_expectation_is_rejected(expect: Expectation) -> None:
    with pytest.raises(WorkloadError):
        build_check(expect)
