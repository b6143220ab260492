import pytest

from loadgen.reference.child import RequestSplitter

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\ncontent-LENGTH: 5\r\n\r\nabcde"
STREAM = GET + POST + POST + GET


@pytest.mark.parametrize("size", [1, 2, 7, 30, 1000])
def test_requests_are_split_regardless_of_chunk_size(size: int) -> None:
    splitter = RequestSplitter()
    requests = [request for at in range(0, len(STREAM), size) for request in splitter.split(STREAM[at : at + size])]
    assert requests == [GET, POST, POST, GET]


def test_header_of_previous_request_with_other_body_or_length_is_split() -> None:
    splitter = RequestSplitter()
    assert splitter.split(POST) == [POST]
    assert splitter.split(POST.replace(b"abcde", b"fghij")) == [POST.replace(b"abcde", b"fghij")]
    assert splitter.split(POST.replace(b"5", b"3")[:-2]) == [POST.replace(b"5", b"3")[:-2]]
