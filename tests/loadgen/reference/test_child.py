import pytest

from loadgen.reference.child import RequestSplitter

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\ncontent-LENGTH: 5\r\n\r\nabcde"
STREAM = GET + POST + POST + GET


@pytest.mark.parametrize("size", [1, 2, 7, 30, 1000])
def test_requests_are_found_however_the_stream_is_split(size: int) -> None:
    cutter = RequestSplitter()
    found = [request for at in range(0, len(STREAM), size) for request in cutter.split(STREAM[at : at + size])]
    assert found == [GET, POST, POST, GET]


def test_a_head_like_the_last_one_with_another_body_is_still_found() -> None:
    cutter = RequestSplitter()
    assert cutter.split(POST) == [POST]
    assert cutter.split(POST.replace(b"abcde", b"fghij")) == [POST.replace(b"abcde", b"fghij")]
    assert cutter.split(POST.replace(b"5", b"3")[:-2]) == [POST.replace(b"5", b"3")[:-2]]
