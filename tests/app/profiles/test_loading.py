from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.errors import ExitCode, ProfileError
from app.profiles.bundled import bundled_profiles
from app.profiles.loading import load_profile, load_traffic
from app.profiles.profile import GeneratingProfile, HttpProfile, OipProfile
from tests.fakes.profiles import load_endpoint_profile

PLANS = Path(__file__).parents[3] / "docs" / "reference" / "plans.md"
HTTP = """\
sizewise: 1
name: scoring
target:
  protocol: http
  url: http://127.0.0.1:8000/score
  hardware: {offer: aws/g6.2xlarge}
workload:
  body: {features: [0.1, 0.2]}
load:
  warmup: 1s
  stages:
    - name: steady
      rate: 200/s
      duration: 30s
    - {name: more, arrivals: constant, rate: 6000/min, duration: 1m}
slo: ["latency_ms.p95 < 50", "error_rate < 0.1%"]
traffic: {peak: 900/s, growth: 20%/year}
plan:
  regions: [us-east-1]
"""
OIP = """\
sizewise: 1
name: tabular
target:
  protocol: oip
  serve:
    model: forest.onnx
workload: {tensors: rows.npz, labels: label}
load: {search: {start: 10/s}}
slo: ["latency_ms.p95 < 50"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "forest.onnx").write_bytes(b"model")
    (tmp_path / "rows.npz").write_bytes(b"rows")
    return tmp_path


def write_profile(folder: Path, text: str) -> Path:
    path = folder / "profile.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_http_profile_is_parsed(folder: Path) -> None:
    profile = load_profile(write_profile(folder, HTTP))
    assert isinstance(profile, HttpProfile)
    assert profile.workload.method == "POST"
    assert [stage.rate_per_s for stage in profile.load.stages] == [200.0, 100.0]
    assert profile.load.stages[1].duration_s == 60.0
    assert [objective.limit for objective in profile.slo] == [50.0, 0.001]
    assert profile.plan.confidence == 0.9
    assert profile.traffic is not None
    assert profile.traffic.growth_per_year == 0.2


def test_served_model_path_is_resolved_relative_to_the_profile(folder: Path) -> None:
    profile = load_profile(write_profile(folder, OIP))
    assert isinstance(profile, OipProfile)
    assert profile.target.model == "forest"
    assert profile.target.serve is not None
    assert profile.target.serve.model_path == folder / "forest.onnx"
    assert profile.workload.tensors == folder / "rows.npz"


GENERATING = """\
sizewise: 1
name: chat
target:
  protocol: openai-chat
  serve: {model: my-model.v1}
workload: {prompts: {input_tokens: 8, output_tokens: 4}}
load: {stages: [{concurrency: 1, duration: 1s}]}
"""


def test_served_language_model_is_named_after_its_folder(folder: Path) -> None:
    (folder / "my-model.v1").mkdir()
    profile = load_profile(write_profile(folder, GENERATING))
    assert isinstance(profile, GeneratingProfile)
    assert profile.target.model == "my-model.v1"
    assert profile.target.serve is not None
    assert profile.target.serve.model_path == folder / "my-model.v1"


@pytest.mark.parametrize(
    ("valid", "invalid", "message"),
    [
        ("model: my-model.v1", "model: forest.onnx", "'forest.onnx' is not a folder"),
        ("openai-chat", "openai-responses", "serve is only for openai-chat and openai-completions"),
        ("openai-chat", "openai-embeddings", "'serve'"),
        ("serve:", "model: a/b\n  serve:", "must not contain /"),
        ("{model: my-model.v1}", "{model: my-model.v1, queue_delay: 1ms}", "'queue_delay' is unknown"),
    ],
)
def test_language_model_that_cannot_be_served_is_rejected(folder: Path, valid: str, invalid: str, message: str) -> None:
    (folder / "my-model.v1").mkdir()
    assert valid in GENERATING
    with pytest.raises(ProfileError, match=message):
        load_profile(write_profile(folder, GENERATING.replace(valid, invalid, 1)))


@pytest.mark.parametrize("name", bundled_profiles())
def test_bundled_profiles_load(name: str) -> None:
    assert load_profile(bundled_profiles()[name]).name == name


@pytest.mark.parametrize(
    ("valid", "invalid", "line", "message", "hint"),
    [
        ("      rate: 200/s", "      rat: 200/s", 13, "the key 'rat' is unknown in load.stages[0]", "'rate'"),
        ("  warmup: 1s", "  warm_up: 1s", 10, "the key 'warm_up' is unknown in load", "'warmup'"),
        ("traffic:", "trafic:", 17, "the key 'trafic' is unknown", "'traffic'"),
        ("rate: 200/s", "rate: 200 rps", 13, "the unit 'rps' is unknown", "200/s"),
        ("duration: 30s", "duration: 30 sec", 14, "the unit 'sec' is unknown", "'s'"),
        ("duration: 30s", "duration: 30", 14, "no unit", "30s"),
        ("duration: 30s", "duration: 0s", 14, "greater than 0", ""),
        ("arrivals: constant", "arrivals: constnat", 15, "'constnat'", "'constant'"),
        ("protocol: http", "protocol: htp", 4, "the protocol 'htp' is unknown", "'http'"),
        ("latency_ms.p95 < 50", "latncy_ms.p95 < 50", 16, 'the metric "latncy_ms" is unknown', "latency_ms"),
        ("latency_ms.p95 < 50", "latency_ms.p95 < 50ms", 16, "ms", ""),
        ("aws/g6.2xlarge", "aws/g6.2xlrge", 6, "the offer 'aws/g6.2xlrge' is unknown", "'aws/g6.2xlarge'"),
        ("offer: aws/g6.2xlarge", "accelerator: l40z", 6, "the accelerator 'l40z' is unknown", "'l40'"),
        ("[us-east-1]", "[us-east1]", 19, "the region 'us-east1' is unknown", "'us-east-1'"),
        ("  regions: [us-east-1]", "  providers: [amazon, asw]", 19, "the provider 'amazon' is unknown", ""),
        ("growth: 20%/year", "growth: 20%", 17, "the unit '%' is unknown", "%/year"),
        ("growth: 20%/year", "shape: weekday", 17, "'weekday'", "'workday'"),
        ("name: steady", "name: more", 9, "named 'more'", ""),
        ("sizewise: 1", "sizewise: 2", 1, "must be 1", ""),
        ("name: scoring", "name: a b", 2, "name must be text that matches the pattern '^[A-Z", ""),
        ("  body: {features: [0.1, 0.2]}", "  body: 1\n  bodies: [2]", 7, "only one", ""),
        ("  body: {features: [0.1, 0.2]}", "  tensors: x.npz", 8, "'tensors'", "protocol oip"),
        ("  url: http://127.0.0.1:8000/score\n", "  serve: {}\n", 5, "'serve'", "protocol oip"),
        ("  url: http://127.0.0.1:8000/score\n", "", 3, "exactly one of url, urls and scripted", ""),
        ("http://127.0.0.1:8000/score", "ftp://127.0.0.1/", 5, "http://", ""),
        ("{offer: aws/g6.2xlarge}", "{offer: aws/g6.2xlarge, vcpus: 8}", 6, "offer, or", ""),
        ("{offer: aws/g6.2xlarge}", "[1]", 6, "a mapping of keys", ""),
        ("  stages:\n", "  stages: 7\n  x:\n", 12, "the key 'x' is unknown", ""),
    ],
)
def test_profile_error_has_its_line_and_suggests_the_nearest_name(
    folder: Path, valid: str, invalid: str, line: int, message: str, hint: str
) -> None:
    assert valid in HTTP
    path = write_profile(folder, HTTP.replace(valid, invalid, 1))
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("valid", "invalid", "message"),
    [
        ("model: forest.onnx", "model: digts", "neither a bundled model nor a file"),
        ("tensors: rows.npz", "tensors: row.npz", "row.npz does not exist"),
        ("  serve:\n    model: forest.onnx\n", "", "target is missing the key model"),
        ("    model: forest.onnx\n", "    model: forest.onnx\n  url: http://127.0.0.1/\n", "exactly one of"),
        ("tensors: rows.npz, ", "", "must name an array of workload.tensors, which is missing"),
        ('slo: ["latency_ms.p95 < 50"]\n', "", "slo is empty"),
        ("load: {search: {start: 10/s}}", "load: {}", "stages, a sweep or a search"),
        ("labels: label", "path: /x", "the key 'path' is unknown"),
    ],
)
def test_inconsistent_oip_profile_is_rejected(folder: Path, valid: str, invalid: str, message: str) -> None:
    assert valid in OIP
    with pytest.raises(ProfileError, match=message.replace("(", r"\(")):
        load_profile(write_profile(folder, OIP.replace(valid, invalid, 1)))


def test_all_missing_keys_of_a_section_are_reported_together(folder: Path) -> None:
    lines = [line for line in OIP.splitlines(keepends=True) if not line.startswith(("sizewise:", "name:"))]
    with pytest.raises(ProfileError, match=r"the profile is missing the keys sizewise and name$") as caught:
        load_profile(write_profile(folder, "".join(lines)))
    assert caught.value.hint == "Add lines such as `sizewise: 1` and `name: fraud-scoring`."
    assert caught.value.other_errors == ()


@pytest.mark.parametrize("content", ["", "[]", "3", "target: 3", "sizewise: 1\n"])
def test_documents_that_are_not_profiles_are_rejected(folder: Path, content: str) -> None:
    with pytest.raises(ProfileError):
        load_profile(write_profile(folder, content))


def test_missing_profile_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="No such file"):
        load_profile(tmp_path / "none.yaml")


def test_overrides_replace_values_of_the_profile(folder: Path) -> None:
    path = write_profile(folder, HTTP)
    profile = load_endpoint_profile(
        path,
        [
            "load.stages.0.rate=50/s",
            "limits.duration=2m",
            "traffic.peak=1/s",
            "target.hardware.replicas=3",
        ],
    )
    assert profile.load.stages[0].rate_per_s == 50.0
    assert profile.limits.duration_s == 120.0
    assert profile.target.hardware is not None
    assert profile.target.hardware.replicas == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("load.stages.0.rat=50/s", "--set load.stages.0.rat: the key 'rat' is unknown"),
        ("load.stages.7.rate=50/s", "--set load.stages.7.rate: there is no item 7"),
        ("load.seed=abc", "--set load.seed: load.seed must be a whole number"),
        ("load.seed", "--set load.seed: an override must have the form"),
        ("load..seed=1", "--set load..seed: an override must have the form"),
        ("name.x=1", "--set name.x: 'x' cannot be set"),
        ("load.seed=[", "--set load.seed"),
        ("slo=[latency_ms.p9 < 1]", "--set slo: "),
        (f"load.stages.{'9' * 5000}.rate=50/s", "--set load.stages.999"),
        (f"slo=[latency_ms.p95 < {'9' * 5000}]", "--set slo: "),
    ],
)
def test_invalid_override_is_reported_by_its_key(folder: Path, override: str, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        load_profile(write_profile(folder, HTTP), [override])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "override",
    ["target.url=http://u:canary@127.0.0.1/", "target.url=http://127.0.0.1/?api_key=canary",
     "target.url=http://127.0.0.1/?x=1&Token=canary", "target.headers.Authorization=[canary]",
     'target.headers.X="\\u0001canary"', "target.headers=canary", "workload.path=/s?api_key=canary",
     "workload.path=/s?x=1#&token=canary"],
)  # fmt: skip
def test_secrets_in_overrides_are_rejected_and_not_shown(folder: Path, override: str) -> None:
    with pytest.raises(ProfileError) as caught:
        load_profile(write_profile(folder, HTTP), [override])
    assert "canary" not in str(caught.value) + (caught.value.hint or "")


@pytest.mark.parametrize(
    ("override", "maximum"),
    [
        ("load.seed=9007199254740992", "9,007,199,254,740,991"),
        (f"load.seed={'9' * 300}", "9,007,199,254,740,991"),
        ("limits.requests=2e12", "1,000,000,000,000"),
        (f"limits.requests={'9' * 300}", "1,000,000,000,000"),
        ("limits.duration=31d", "31d exceeds the maximum of 30d"),
        ("load.warmup=1e300d", "30d"),
        ("load.stages.0.rate=2e6/s", "2000000/s exceeds the maximum of 1000000/s"),
        ("load.stages.0.repeats=1001", "1,000"),
        ("plan.max_price_age=1e12d", "36,500"),
        ("traffic.growth=1e9%/year", "10000%/year"),
    ],
)
def test_values_above_their_maximum_are_rejected(folder: Path, override: str, maximum: str) -> None:
    with pytest.raises(ProfileError, match="exceeds the maximum of") as caught:
        load_profile(write_profile(folder, HTTP), [override])
    assert maximum in str(caught.value)


@pytest.mark.parametrize(
    ("key", "maximum"),
    [
        ("target.serve.threads", 1024),
        ("target.serve.max_batch", 4096),
        ("target.serve.queue_limit", 100_000),
        ("workload.rows_per_request", 65_536),
        ("load.seed", 2**53 - 1),
    ],
)
def test_maximum_value_of_a_key_is_accepted(folder: Path, key: str, maximum: int) -> None:
    path = write_profile(folder, OIP)
    load_profile(path, [f"{key}={maximum}"])
    with pytest.raises(ProfileError, match=f"{maximum + 1:,} exceeds the maximum of {maximum:,}"):
        load_profile(path, [f"{key}={maximum + 1}"])


def test_traffic_examples_of_the_plans_guide_load_as_files(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(traffic:.*?)```", PLANS.read_text("utf-8"), re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)
        assert load_traffic(path).peak_per_s is not None


def test_renamed_key_is_accepted_only_in_stored_profiles(folder: Path) -> None:
    path = write_profile(folder, HTTP + "  surge: 2\n")
    for profile in (load_profile(path, is_stored=True), load_profile(path, files_must_exist=False)):
        assert isinstance(profile, HttpProfile)
        assert profile.plan.max_unavailable == 2
    with pytest.raises(ProfileError, match="the key 'surge' is unknown in plan") as refused:
        load_profile(path)
    assert refused.value.hint == "Write max_unavailable, which is its new name."
    with pytest.raises(ProfileError, match="the key 'surge' is unknown in plan"):
        load_profile(path, ["plan.surge=1"], is_stored=True)
