from loadgen.protocols.built import judgement
from loadgen.transport.exchange import Exchange, Headers


def done(status: int | None, error: str | None = None) -> Exchange:
    return Exchange(0, 0, b"", lambda _: None, status=status, error=error, body=b"b")


def judge(number: int, status: int, _headers: Headers, body: bytes) -> tuple[str | None, int | None]:
    return None, number + status + len(body)


def broken(*_: object) -> tuple[str | None, int | None]:
    raise ZeroDivisionError


def test_an_answer_is_judged_and_a_lost_one_is_not() -> None:
    assert judgement(judge, 1, done(200)) == (None, 202)
    assert judgement(judge, 1, done(200, "truncated")) == ("truncated", None)
    assert judgement(judge, 1, done(None, "send")) == ("send", None)


def test_an_answer_that_breaks_the_judge_has_a_judgement() -> None:
    assert judgement(broken, 0, done(200)) == ("bad-payload", None)
