"""What a profile sends to which host: secrets, and files from outside its own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.errors import ProfileError
from app.profiles.fields import iter_fields, profile_fields
from app.profiles.loading import load_profile
from app.profiles.profile import PROFILES, Profile
from app.profiles.sent_references import find_own_files, find_sent_references

HOST = "10.0.0.5"
URL = f"http://{HOST}/v1"
STAGES = [{"rate": "1/s", "duration": "1s"}]
TARGETS: dict[str, dict[str, Any]] = {
    "http": {"protocol": "http", "url": URL},
    "https": {"protocol": "http", "url": f"https://{HOST}/"},
    "chat": {"protocol": "openai-chat", "url": URL, "model": "m"},
    "grpc": {"protocol": "grpc", "url": f"grpc://{HOST}:8001"},
    "oip": {"protocol": "oip", "url": URL, "model": "m"},
    "speech": {"protocol": "openai-transcriptions", "url": URL, "model": "m"},
    "locust": {"protocol": "locust", "url": URL},
}
BODY = {"body": {"a": 1}}
PROMPTS = {"input_tokens": 8, "output_tokens": 8}
FILES: dict[str, tuple[str, dict[str, Any], str]] = {
    "load.stages.*.trace": ("http", {"workload": BODY, "load": {"stages": [{"trace": "OUT/t.csv"}]}}, "t.csv"),
    "traffic.trace": ("http", {"workload": BODY, "traffic": {"trace": "OUT/t.csv"}}, "t.csv"),
    "target.tls.ca_file": ("https", {"target": {"tls": {"ca_file": "OUT/c.pem"}}, "workload": BODY}, "c.pem"),
    "target.tls.cert_file": ("https", {"target": {"tls": {"cert_file": "OUT/c.pem"}}, "workload": BODY}, "c.pem"),
    "target.tls.key_file": (
        "https",
        {"target": {"tls": {"cert_file": "OUT/c.pem", "key_file": "OUT/k.pem"}}, "workload": BODY},
        "k.pem",
    ),
    "workload.dataset": ("http", {"workload": {"dataset": "OUT/rows.jsonl"}}, "rows.jsonl"),
    "workload.classes.*.dataset": (
        "http",
        {"workload": {"classes": [{"name": "a", "weight": 1, "dataset": "OUT/rows.jsonl"},
                                  {"name": "b", "weight": 1, "body": 1}]}},
        "rows.jsonl",
    ),
    "workload.dataset.path": ("chat", {"workload": {"dataset": "OUT/rows.jsonl"}}, "rows.jsonl"),
    "workload.dataset.tools.path": (
        "chat",
        {"workload": {"dataset": {"path": "own.jsonl", "tools": {"path": "OUT/tools.json"}}}},
        "tools.json",
    ),
    "workload.dataset.response_format.json_schema": (
        "chat",
        {"workload": {"dataset": {"path": "own.jsonl", "response_format": {"json_schema": "OUT/schema.json"}}}},
        "schema.json",
    ),
    "workload.classes.*.dataset.path": (
        "chat",
        {"workload": {"classes": [{"name": "a", "weight": 1, "dataset": "OUT/rows.jsonl"},
                                  {"name": "b", "weight": 1, "prompts": PROMPTS}]}},
        "rows.jsonl",
    ),
    "workload.tokenizer": ("chat", {"workload": {"prompts": PROMPTS, "tokenizer": "OUT/tok.json"}}, "tok.json"),
    "workload.prompts.lengths.path": ("chat", {"workload": {"prompts": {"lengths": "OUT/pairs.csv"}}}, "pairs.csv"),
    "workload.prompts.tools.path": (
        "chat",
        {"workload": {"prompts": {**PROMPTS, "tools": {"path": "OUT/tools.json"}}}},
        "tools.json",
    ),
    "workload.prompts.response_format.json_schema": (
        "chat",
        {"workload": {"prompts": {**PROMPTS, "response_format": {"json_schema": "OUT/schema.json"}}}},
        "schema.json",
    ),
    "workload.sessions.path": ("chat", {"workload": {"sessions": "OUT/rows.jsonl"}}, "rows.jsonl"),
    "workload.trace": ("chat", {"workload": {"trace": "OUT/tokens.csv"}}, "tokens.csv"),
    "workload.tensors": ("oip", {"workload": {"tensors": "OUT/a.npz"}}, "a.npz"),
    "workload.protoset": ("grpc", {"workload": {"method": "a/b", "protoset": "OUT/p.binpb", **BODY}}, "p.binpb"),
    "target.file": ("locust", {"target": {"file": "OUT/locustfile.py"}, "load": {"stages": [
        {"concurrency": 1, "duration": "1s"}]}}, "locustfile.py"),
}  # fmt: skip
"""For each key that names a file: the target of a profile with such a file, its other keys, and the file."""
UNSENT_KEYS = {"socket", "directory"}
"""Keys of paths from which nothing is read."""
LOCAL_KEYS = {"target.serve.model", "workload.text", "workload.calibration"}
"""Keys of models and data that are read on this machine, by a target that the run itself serves."""


@pytest.fixture
def user_folder(tmp_path: Path) -> Path:
    """A folder of the user, with every kind of file that a profile can name."""
    folder = tmp_path / "user"
    folder.mkdir()
    contents = {
        "t.csv": "timestamp\n0\n1\n",
        "tokens.csv": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,8,8\n2023-11-16 18:17:04,9,9\n",
        "rows.jsonl": '{"prompt": "a", "session": "s", "text": "a"}\n',
        "pairs.csv": "input_tokens,output_tokens\n8,8\n",
        "tools.json": '[{"name": "a", "parameters": {"type": "object"}}]',
        "schema.json": '{"type": "object"}',
    }
    for name in (*contents, "c.pem", "k.pem", "tok.json", "a.npz", "p.binpb", "locustfile.py"):
        (folder / name).write_text(contents.get(name, "{}"))
    return folder


def load(folder: Path, kind: str, keys: dict[str, Any], user_folder: Path) -> Profile:
    """Load a profile in `folder`, with OUT in its paths replaced by the other folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.jsonl").write_text('{"prompt": "a"}\n')
    tree = {"sizewise": 1, "name": "stranger", "load": {"stages": STAGES}, **keys}
    tree["target"] = {**TARGETS[kind], "permitted": True, **keys.get("target", {})}
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False).replace("OUT/", f"{user_folder}/"))
    return load_profile(path)


@pytest.mark.parametrize("key", list(FILES))
def test_every_file_outside_the_profile_folder_is_listed_for_the_target_host(
    key: str, user_folder: Path, tmp_path: Path
) -> None:
    kind, keys, name = FILES[key]
    sent = find_sent_references(load(tmp_path / "profile", kind, keys, user_folder))
    assert set(sent) == {HOST}
    assert f"file:{user_folder / name}" in sent[HOST]


@pytest.mark.parametrize("key", list(FILES))
def test_file_in_the_profile_folder_needs_no_consent(key: str, user_folder: Path) -> None:
    kind, keys, name = FILES[key]
    profile = load(user_folder, kind, keys, user_folder)
    assert find_sent_references(profile) == {}
    assert f"file:{user_folder / name}" in find_own_files(profile)[HOST]


def test_every_profile_key_that_names_a_file_is_covered_by_these_tests() -> None:
    keys = {
        ".".join(path)
        for protocol in PROFILES
        for path, field in iter_fields(profile_fields(protocol))
        if (field.kind == "path" and field.key not in UNSENT_KEYS) or field.key == "json_schema"
    }
    classes = {key for key in keys if key.startswith("workload.classes.*.")}
    covered = {*FILES, *LOCAL_KEYS}
    assert keys - classes <= covered
    assert {key.replace("classes.*.", "") for key in classes} <= covered


@pytest.mark.parametrize("key", list(FILES))
def test_device_instead_of_a_file_is_rejected(key: str, user_folder: Path, tmp_path: Path) -> None:
    kind, keys, name = FILES[key]
    (user_folder / name).unlink()
    (user_folder / name).symlink_to("/dev/zero")
    with pytest.raises(ProfileError):
        load(tmp_path / "profile", kind, keys, user_folder)


def test_symlink_in_the_profile_folder_is_resolved(user_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "profile"
    folder.mkdir()
    (folder / "rows.jsonl").symlink_to(user_folder / "rows.jsonl")
    profile = load(folder, "http", {"workload": {"dataset": "rows.jsonl"}}, user_folder)
    assert find_sent_references(profile) == {HOST: (f"file:{user_folder / 'rows.jsonl'}",)}


@pytest.mark.parametrize("name", [".ssh", "work/.secrets"])
def test_hidden_folders_do_not_belong_to_the_profile(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir(parents=True)
    profile = load(tmp_path, "http", {"workload": {"dataset": name}}, tmp_path)
    assert find_sent_references(profile) == {HOST: (f"file:{tmp_path / name}",)}


@pytest.mark.parametrize(("name", "is_own"), [("Documents", False), ("own.jsonl", True), ("work/a.jsonl", False)])
def test_in_the_home_folder_only_files_beside_a_profile_belong_to_the_profile(
    name: str, is_own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("Documents", "work"):
        (tmp_path / folder).mkdir()
    (tmp_path / "work" / "a.jsonl").write_text("{}\n")
    profile = load(tmp_path, "http", {"workload": {"dataset": name}}, tmp_path)
    assert (find_sent_references(profile) == {}) == is_own


@pytest.mark.parametrize("target", [{"url": "http://127.0.0.1:9/"}, {"socket": "model.sock"}])
def test_files_sent_to_this_machine_need_no_consent(target: dict[str, str], user_folder: Path, tmp_path: Path) -> None:
    profile = load(tmp_path / "a", "http", {"target": target, "workload": {"dataset": "OUT/rows.jsonl"}}, user_folder)
    assert find_sent_references(profile) == {}
    assert find_own_files(profile) == {}


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
        ("url: 'http://evil.localhost:8000/', api_key: env:KEY", "[]", {"evil.localhost": ("env:KEY",)}),
        ("url: 'http://a.example/', socket: model.sock, api_key: env:KEY", "[]", {}),
        ("url: 'http://a.example/'", "[]", {}),
        (
            "url: 'http://127.0.0.1/'",
            "[{name: s, scrape: 'http://10.0.0.5/metrics', headers: {Authorization: 'env:KEY'}}]",
            {"10.0.0.5": ("env:KEY",)},
        ),
    ],
)  # fmt: skip
def test_secrets_are_listed_by_the_host_that_receives_them(
    tmp_path: Path, target: str, telemetry: str, sent: dict[str, tuple[str, ...]]
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        f"sizewise: 1\nname: x\ntarget: {{protocol: http, {target}}}\nworkload: {{body: {{a: 1}}}}\n"
        f"load: {{stages: [{{rate: 1/s, duration: 1s}}]}}\ntelemetry: {telemetry}\n"
    )
    assert find_sent_references(load_profile(path)) == sent
