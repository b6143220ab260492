from loadgen.transport.responses import HeadCache

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
HEADERS = [(b"Content-Length", b"2")]


def test_response_head_is_cached_by_its_bytes_and_response_length() -> None:
    heads = HeadCache()
    assert heads.find(HEAD + b"{}") is None
    heads.add(HEAD + b"{}", 200, HEADERS, 2)
    cached = heads.find(HEAD + b"[]")
    assert cached is heads.latest_head
    assert (cached.status, cached.headers, cached.response_length) == (200, HEADERS, len(HEAD) + 2)
    for other in (HEAD, HEAD + b"{", HEAD + b"{}x", HEAD.lower() + b"{}", b"", b"\r\n\r\n"):
        assert heads.find(other) is None


def test_response_with_surplus_bytes_is_not_cached() -> None:
    heads = HeadCache()
    heads.add(HEAD + b"2\r\n{}\r\n0\r\n\r\n", 200, HEADERS, 2)
    assert heads.find(HEAD + b"2\r\n{}\r\n0\r\n\r\n") is None


def test_head_cache_size_is_limited() -> None:
    heads = HeadCache()
    for number in range(1_000):
        heads.add(b"HTTP/1.1 200 OK\r\nX-Id: %d\r\nContent-Length: 0\r\n\r\n" % number, 200, [], 0)
    assert len(heads._cached_head_by_bytes) <= 64


def test_head_cache_lookups_pause_after_many_misses_and_resume() -> None:
    heads = HeadCache()
    heads.add(HEAD + b"{}", 200, HEADERS, 2)
    for number in range(64):
        assert heads.find(b"HTTP/1.1 200 OK\r\nX-Id: %d\r\n\r\n" % number) is None
    assert heads.latest_head.head == HEAD  # a head equal to the latest one is found without a lookup
    assert [heads.find(HEAD + b"{}") is None for _ in range(1_001)] == [True] * 1_000 + [False]
