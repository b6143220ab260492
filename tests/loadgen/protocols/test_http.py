from pathlib import Path

import pytest

from loadgen.protocols import http
from loadgen.protocols.http import build_http, encode_request
from loadgen.protocols.prepared import WorkloadError
from loadgen.records import Endpoint
from loadgen.transport.address import parse_url
from loadgen.workloads import Dataset, Expectation, HttpWorkload, Popularity

URL = "http://h:1/a?b=c"
ADDRESS = parse_url(URL)
ENDPOINT = Endpoint((URL,))
HEAD = "Host: h:1\r\nUser-Agent: sizewise\r\nAccept-Encoding: identity\r\n"


@pytest.fixture
def people(tmp_path: Path) -> Dataset:
    file = tmp_path / "people.csv"
    file.write_text("name,age\nAda,36\nÉva,7\n")
    return Dataset(str(file), "csv")


def build_requests(workload: HttpWorkload, endpoint: Endpoint = ENDPOINT) -> list[bytes]:
    return build_http(workload, endpoint, ADDRESS).requests


def build_bodies(workload: HttpWorkload) -> list[bytes]:
    return [request.partition(b"\r\n\r\n")[2] for request in build_requests(workload)]


def test_request_without_body_is_encoded_with_default_headers() -> None:
    prepared = build_http(HttpWorkload(), Endpoint((URL,), headers=(("X-A", "1"),)), ADDRESS)
    assert prepared.requests == [f"GET /a?b=c HTTP/1.1\r\n{HEAD}X-A: 1\r\n\r\n".encode()]
    assert (prepared.is_head, prepared.label, prepared.notes) == (False, "GET http://h:1/a", ())


def test_each_body_becomes_request_with_content_length_and_type() -> None:
    workload = HttpWorkload(method="post", path="/p", bodies=(b"one", b"three"), content_type="text/plain")
    first, second = build_requests(workload)
    assert first.startswith(b"POST /p HTTP/1.1\r\n")
    assert b"\r\nContent-Type: text/plain\r\n" in first
    assert first.endswith(b"\r\nContent-Length: 3\r\n\r\none")
    assert second.endswith(b"\r\nContent-Length: 5\r\n\r\nthree")


def test_post_without_body_has_content_length_0() -> None:
    assert b"\r\nContent-Length: 0\r\n\r\n" in build_requests(HttpWorkload("POST"))[0]


def test_user_headers_replace_default_headers_except_content_length() -> None:
    headers = [("user-agent", "mine"), ("HOST", "other"), ("content-length", "9"), ("accept-encoding", "gzip")]
    request = encode_request("POST", "/", ADDRESS, headers, b"x")
    fields = b"HOST: other\r\nuser-agent: mine\r\naccept-encoding: gzip\r\nContent-Length: 1"
    assert request == b"POST / HTTP/1.1\r\n" + fields + b"\r\n\r\nx"


@pytest.mark.parametrize(
    ("method", "path", "header"),
    [
        ("GET", "/a b", ("A", "b")),
        ("GET\r\n", "/", ("A", "b")),
        ("GET", "/", ("A", "b\r\nInjected: yes")),
        ("GET", "/", ("A:", "b")),
        ("GET", "/", ("A", "☃")),
    ],
)
def test_request_line_or_header_injection_is_rejected(method: str, path: str, header: tuple[str, str]) -> None:
    with pytest.raises(WorkloadError) as raised:
        encode_request(method, path, ADDRESS, [header], None)
    assert "Injected" not in str(raised.value)


def test_requests_beyond_memory_limit_are_omitted_with_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_REQUESTS_BYTES", 600)
    prepared = build_http(HttpWorkload("POST", bodies=(b"x" * 150,) * 5), ENDPOINT, ADDRESS)
    assert len(prepared.requests) == 2
    assert "only the first 2 requests" in prepared.notes[0]


def test_dataset_rows_fill_body_template_and_path(people: Dataset) -> None:
    workload = HttpWorkload("POST", path="/u/{{name}}", template='{"age": {{age}}, "of": "{{name}}"}', dataset=people)
    first, second = build_requests(workload)
    assert first.startswith(b"POST /u/Ada HTTP/1.1\r\n")
    assert b"\r\nContent-Type: application/json\r\n" in first
    assert first.endswith(b'\r\n\r\n{"age": 36, "of": "Ada"}')
    assert second.startswith(b"POST /u/%C3%89va HTTP/1.1\r\n")
    assert second.endswith('{"age": 7, "of": "Éva"}'.encode())


def test_rows_without_template_are_sent_as_json_and_get_has_no_body(people: Dataset) -> None:
    assert build_bodies(HttpWorkload("POST", dataset=people))[0] == b'{"name":"Ada","age":36}'
    gets = build_requests(HttpWorkload("GET", path="/u?age={{age}}", dataset=people))
    assert [request.split(b" ")[1] for request in gets] == [b"/u?age=36", b"/u?age=7"]
    assert b"Content-" not in gets[0]


def test_files_are_sent_unchanged_with_content_type_of_file_name(tmp_path: Path) -> None:
    for name in ("a.png", "b.unknown"):
        (tmp_path / name).write_bytes(b"\xff" + name.encode())
    workload = HttpWorkload("POST", dataset=Dataset(str(tmp_path), "folder"))
    first, second = build_requests(workload)
    assert b"\r\nContent-Type: image/png\r\n" in first
    assert first.endswith(b"\xffa.png")
    assert b"\r\nContent-Type: application/octet-stream\r\n" in second


def test_template_without_placeholders_is_one_body() -> None:
    assert build_bodies(HttpWorkload("POST", template='{"a": 1}')) == [b'{"a": 1}']


@pytest.mark.parametrize("workload", [HttpWorkload(template="{{a}}"), HttpWorkload(path="/{{a}}")])
def test_placeholders_without_dataset_are_rejected(workload: HttpWorkload) -> None:
    with pytest.raises(WorkloadError, match="no dataset"):
        build_requests(workload)


def test_missing_dataset_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"absent\.csv cannot be read"):
        build_requests(HttpWorkload(dataset=Dataset(str(tmp_path / "absent.csv"), "csv")))


def test_popularity_sets_request_indices(people: Dataset) -> None:
    workload = HttpWorkload("POST", dataset=people, popularity=Popularity("zipf"), expect=Expectation(statuses=(201,)))
    prepared = build_http(workload, ENDPOINT, ADDRESS)
    assert prepared.request_indices is not None
    assert set(prepared.request_indices) == {0, 1}
