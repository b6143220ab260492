import pytest

from app.errors import UnavailableError
from app.session.preflight import require_reachable
from loadgen.records import PreflightDone

URL = "http://127.0.0.1:8000/"


@pytest.mark.parametrize(
    ("error", "status", "hint"),
    [
        ("dns", None, "host name"),
        ("connect", None, "port in target.url, or target.socket,"),
        ("tls", None, "ca_file"),
        ("http-4xx", 401, "credential"),
        ("http-4xx", 403, "may not"),
        ("http-4xx", 404, "path"),
        ("http-4xx", 405, "target.protocol"),
        ("http-5xx", 501, "target.protocol"),
        ("bad-payload", 200, "target.protocol"),
    ],
)
def test_what_no_load_could_tell_about_is_unavailable(error: str, status: int | None, hint: str) -> None:
    with pytest.raises(UnavailableError, match="cannot be measured: it said so") as raised:
        require_reachable(PreflightDone(error, status, "it said so", None), URL)
    assert hint in str(raised.value.hint)


@pytest.mark.parametrize(
    ("error", "status"), [(None, 200), (None, 404), ("http-4xx", 400), ("http-5xx", 500), ("timeout", None)]
)
def test_an_answer_of_the_target_to_the_workload_is_measured(error: str | None, status: int | None) -> None:
    require_reachable(PreflightDone(error, status, "it said so", None), URL)


def test_a_target_without_the_metadata_to_build_requests_from_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="cannot be measured: it said so") as raised:
        require_reachable(PreflightDone("http-5xx", 500, "it said so", None, can_send=False), URL)
    assert "target.model" in str(raised.value.hint)
