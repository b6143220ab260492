from __future__ import annotations

from pathlib import Path

import pytest

from app.profiles.loading import load_profile
from app.profiles.secret_hosts import hosts_of_secrets


@pytest.mark.parametrize(
    ("target", "telemetry", "sent"),
    [
        ("url: 'https://API.example.com/v1', api_key: env:KEY", "[]", {"api.example.com": ("env:KEY",)}),
        (
            "urls: ['http://a.example/', 'http://b.example/'], headers: {X-B: 'Token env:B', X-A: 'env:A', X-C: plain}",
            "[]",
            {"a.example": ("env:A", "env:B"), "b.example": ("env:A", "env:B")},
        ),
        ("url: 'http://127.0.0.1:8000/', api_key: env:KEY", "[]", {}),
        ("url: 'http://localhost:8000/', api_key: env:KEY", "[]", {}),
        ("url: 'http://a.example/', socket: model.sock, api_key: env:KEY", "[]", {}),
        ("url: 'http://a.example/'", "[]", {}),
        (
            "url: 'http://127.0.0.1/'",
            "[{name: s, scrape: 'http://10.0.0.5/metrics', headers: {Authorization: 'env:KEY'}}]",
            {"10.0.0.5": ("env:KEY",)},
        ),
    ],
)  # fmt: skip
def test_secrets_by_the_host_that_they_are_sent_to(
    tmp_path: Path, target: str, telemetry: str, sent: dict[str, tuple[str, ...]]
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        f"sizewise: 1\nname: x\ntarget: {{protocol: http, {target}}}\nworkload: {{body: {{a: 1}}}}\n"
        f"load: {{stages: [{{rate: 1/s, duration: 1s}}]}}\ntelemetry: {telemetry}\n"
    )
    assert hosts_of_secrets(load_profile(path)) == sent
