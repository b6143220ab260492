from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UnavailableError, UsageError
from app.wiring.endpoint import build_endpoint
from loadgen.records import Endpoint, KeyFile, Timeouts
from tests.app.wiring.conftest import HTTP, URL, MakeProfile


def test_endpoint_has_url_timeouts_and_connections_of_the_target(make_profile: MakeProfile) -> None:
    endpoint = build_endpoint(make_profile({**HTTP, "timeouts": {"total": "5s"}, "max_connections": 10}))
    assert endpoint == Endpoint(urls=(f"{URL}/score",), timeouts=Timeouts(5.0, 30.0, 5.0), max_connections=10)


@pytest.mark.parametrize(
    ("target", "load", "expected"),
    [
        ({}, {"stages": [{"rate": "1/s", "duration": "1s"}]}, 2048),
        ({}, {"stages": [{"concurrency": 10_000, "duration": "1s"}]}, 10_000),
        ({}, {"sweep": {"concurrency": [10, 4_000], "step_duration": "1s"}}, 4_000),
        ({"max_connections": 500}, {"stages": [{"concurrency": 10_000, "duration": "1s"}]}, 500),
    ],
)
def test_max_connections_follow_the_concurrency_unless_set(
    make_profile: MakeProfile, target: dict[str, object], load: dict[str, object], expected: int
) -> None:
    assert build_endpoint(make_profile({**HTTP, **target}, load=load)).max_connections == expected


def test_endpoint_has_all_replicas_and_their_balancing_policy(make_profile: MakeProfile) -> None:
    urls = [f"{URL}/score", "http://127.0.0.1:8001/score"]
    endpoint = build_endpoint(make_profile({"protocol": "http", "urls": urls, "balance": "least-outstanding"}))
    assert endpoint.urls == tuple(urls)
    assert endpoint.balance == "least-outstanding"


def test_secrets_of_headers_are_read_from_environment_and_files(
    make_profile: MakeProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key.txt").write_text("from-a-file\n")
    monkeypatch.setenv("API_KEY", "from-the-environment")
    headers = {"X-Key": "env:API_KEY", "X-Other": "Token file:key.txt", "accept": "text/plain"}
    endpoint = build_endpoint(make_profile({**HTTP, "headers": headers, "api_key": "env:API_KEY"}))
    assert endpoint.headers == (
        ("X-Key", "from-the-environment"),
        ("accept", "text/plain"),
        ("Authorization", "Bearer from-the-environment"),
    )
    assert endpoint.key_files == (KeyFile("X-Other", str(tmp_path / "key.txt"), "Token "),)


def test_api_key_of_the_messages_api_has_its_own_header(
    make_profile: MakeProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key.txt").write_text("from-a-file\n")
    monkeypatch.setenv("API_KEY", "canary")
    target = {"protocol": "anthropic-messages", "url": URL, "model": "m"}
    prompts = {"prompts": {"input_tokens": 5, "output_tokens": 5}}
    endpoint = build_endpoint(make_profile({**target, "api_key": "env:API_KEY"}, prompts))
    assert endpoint.headers == (("x-api-key", "canary"),)
    from_file = build_endpoint(make_profile({**target, "api_key": "file:key.txt"}, prompts))
    assert (from_file.headers, from_file.key_files) == ((), (KeyFile("x-api-key", str(tmp_path / "key.txt"), ""),))


def test_missing_secret_is_reported_when_the_endpoint_is_built(make_profile: MakeProfile) -> None:
    with pytest.raises(UsageError, match=r"the secret file .*key\.txt cannot be read"):
        build_endpoint(make_profile({**HTTP, "api_key": "file:key.txt"}))
    with pytest.raises(UsageError, match="NO_SUCH_KEY is not set"):
        build_endpoint(make_profile({**HTTP, "api_key": "env:NO_SUCH_KEY"}))


def test_public_address_needs_permission(make_profile: MakeProfile) -> None:
    target = {"protocol": "http", "url": "http://93.184.215.14/"}
    with pytest.raises(UsageError, match="does not confirm that you may load-test it") as caught:
        build_endpoint(make_profile(target))
    assert caught.value.hint == (
        "If you have permission, set target.permitted to true, or add --permitted to a command that names a URL."
    )
    assert build_endpoint(make_profile({**target, "permitted": True})).urls == ("http://93.184.215.14/",)


def test_every_replica_at_a_public_address_needs_permission(make_profile: MakeProfile) -> None:
    with pytest.raises(UsageError, match=r"93\.184"):
        build_endpoint(make_profile({"protocol": "http", "urls": [f"{URL}/", "http://93.184.215.14/"]}))


def test_unresolvable_host_behind_a_proxy_needs_permission(
    make_profile: MakeProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = {"protocol": "http", "url": "http://no-such-host.invalid/"}
    with pytest.raises(UnavailableError):
        build_endpoint(make_profile(target))
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    with pytest.raises(UsageError, match="does not confirm that you may load-test it"):
        build_endpoint(make_profile(target))
    assert build_endpoint(make_profile({**target, "permitted": True})).proxy == "http://proxy.example:3128"


def test_unix_socket_needs_no_permission_for_any_host_in_its_url(make_profile: MakeProfile, tmp_path: Path) -> None:
    endpoint = build_endpoint(
        make_profile({"protocol": "http", "url": "http://model.example/", "socket": "model.sock"})
    )
    assert endpoint.unix_socket == str(tmp_path / "model.sock")


def test_locust_test_may_have_no_host_and_needs_permission_for_a_public_host(
    make_profile: MakeProfile, tmp_path: Path
) -> None:
    (tmp_path / "locustfile.py").write_text("")
    load = {"stages": [{"concurrency": 1, "duration": "1s"}]}
    target = {"protocol": "locust", "file": "locustfile.py"}
    assert build_endpoint(make_profile(target, load=load)).urls == ()
    with pytest.raises(UsageError, match="does not confirm that you may load-test it"):
        build_endpoint(make_profile({**target, "url": "http://93.184.215.14"}, load=load))
