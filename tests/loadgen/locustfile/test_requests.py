from loadgen.locustfile.requests import RequestLog


def test_whatever_a_test_calls_its_requests_makes_a_row() -> None:
    log = RequestLog()
    log.begin(3)
    log.heard("GET", "/\ud800" + "x" * 1_000, 1.0, "unknown")
    rows = log.take()
    assert rows is not None
    (row,) = rows.to_pylist()
    assert row["name"].startswith("GET /?x")
    assert (len(row["name"]), row["stage"], row["bytes_received"], row["worker"]) == (300, 3, 0, 0)


def test_the_first_failure_of_each_class_is_kept_for_its_stage() -> None:
    log = RequestLog()
    log.begin(3)
    for exception in (None, TimeoutError("one"), ValueError("secret"), TimeoutError("another")):
        log.heard("GET", "/", 1.0, 0, exception)
    assert [(one.error, one.text) for one in log.first_errors] == [("timeout", "TimeoutError"),
                                                                   ("bad-output", "ValueError")]  # fmt: skip
    log.begin(4)
    assert log.first_errors == ()
