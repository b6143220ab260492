from loadgen.transport.responses import HeadCache

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
HEADERS = [(b"Content-Length", b"2")]


def test_a_head_is_known_by_its_bytes_and_the_length_of_the_whole() -> None:
    heads = HeadCache()
    assert heads.find(HEAD + b"{}") is None
    heads.add(HEAD + b"{}", 200, HEADERS, 2)
    known = heads.find(HEAD + b"[]")
    assert known is heads.latest_head
    assert (known.status, known.headers, known.response_length) == (200, HEADERS, len(HEAD) + 2)
    for other in (HEAD, HEAD + b"{", HEAD + b"{}x", HEAD.lower() + b"{}", b"", b"\r\n\r\n"):
        assert heads.find(other) is None


def test_a_read_that_is_more_than_head_and_body_is_not_learned() -> None:
    heads = HeadCache()
    heads.add(HEAD + b"2\r\n{}\r\n0\r\n\r\n", 200, HEADERS, 2)
    assert heads.find(HEAD + b"2\r\n{}\r\n0\r\n\r\n") is None


def test_heads_that_never_come_again_take_no_more_memory() -> None:
    heads = HeadCache()
    for number in range(1_000):
        heads.add(b"HTTP/1.1 200 OK\r\nX-Id: %d\r\nContent-Length: 0\r\n\r\n" % number, 200, [], 0)
    assert len(heads._cached_head_by_bytes) <= 64


def test_where_no_head_comes_again_looking_pauses_and_is_then_tried_again() -> None:
    heads = HeadCache()
    heads.add(HEAD + b"{}", 200, HEADERS, 2)
    for number in range(64):
        assert heads.find(b"HTTP/1.1 200 OK\r\nX-Id: %d\r\n\r\n" % number) is None
    assert heads.latest_head.head == HEAD  # what is like the latest is known without looking
    assert [heads.find(HEAD + b"{}") is None for _ in range(1_001)] == [True] * 1_000 + [False]
