from __future__ import annotations

import pytest

from app.wiring.scripted import NOTE
from tests.app.wiring.conftest import HTTP, Spec


def test_an_endpoint_on_this_machine_is_planned_for(spec: Spec) -> None:
    made = spec(HTTP)
    assert made.target.urls == ("http://127.0.0.1:8000/score",)
    assert made.target.model is None
    assert made.notes == ()
    assert not made.wakes
    assert made.start is None


def test_a_scripted_target_says_so_and_is_no_hardware(spec: Spec) -> None:
    made = spec({"protocol": "openai-chat", "scripted": {}}, {"prompts": {"input_tokens": 5}})
    assert made.notes == (NOTE,)
    assert made.target.hardware is None
    assert (made.target.urls, made.target.model) == ((), "scripted")


def test_a_proxy_between_is_noted_without_its_password(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:canary@proxy.example:3128")
    made = spec({"protocol": "http", "url": "http://93.184.215.14/", "permitted": True})
    assert made.notes == ("Requests went through a proxy (proxy.example:3128), whose time is in the latencies.",)


def test_replicas_are_told_and_are_no_single_machine(spec: Spec) -> None:
    made = spec({"protocol": "http", "urls": ["http://127.0.0.1:1/", "http://127.0.0.1:2/"]})
    assert made.notes == ("The target is 2 replicas that share the requests: round-robin.",)
    assert made.target.hardware is None


def test_more_connections_than_usual_are_announced(spec: Spec) -> None:
    made = spec(load={"stages": [{"concurrency": 10_000, "duration": "1s"}]})
    assert made.notes == ("Up to 10,000 connections could be open: one for each client.",)


def test_what_sleeps_is_woken(spec: Spec) -> None:
    assert spec({**HTTP, "wake": True}).wakes
