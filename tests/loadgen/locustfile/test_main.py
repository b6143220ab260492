"""The Locust load process with tests as users write them."""

import sys
import threading
from pathlib import Path
from textwrap import dedent
from time import perf_counter

import pytest

from loadgen.process import LoadError, LoadProcess
from loadgen.records import ClosedArrivals, Endpoint, OpenArrivals, PreflightDone
from loadgen.reference.scripted import Reply, Script, ScriptedServer, Stream
from loadgen.workloads import LocustWorkload
from tests.fakes.stage_run import StageRun, plan

pytestmark = pytest.mark.process

PATHS: dict[str, Reply | Stream] = {"/missing": Reply(404), "/broken": Reply(503), "/dropped": Reply(mode="drop")}
TWO_CLASSES = """
    from locust import FastHttpUser, HttpUser, LoadTestShape, between, events, task
    print("a test may print")
    class Reader(HttpUser):
        wait_time = between(0.01, 0.02)
        @task
        def read(self):
            self.client.get("/page?n=1", name="/page")
            self.client.get("/missing")
            self.client.get("/dropped")
    class Writer(FastHttpUser):
        wait_time = between(0.01, 0.02)
        @task
        def write(self):
            self.client.get("/broken")
            with self.client.post("/form", json={"a": 1}, catch_response=True) as answer:
                answer.failure("not what was hoped for")
    class Shape(LoadTestShape):
        def tick(self):
            return 1, 1
    """
ONE_CLASS = """
    from locust import FastHttpUser, constant, task
    class One(FastHttpUser):
        wait_time = constant(0.01)
        host = "{host}"
        @task
        def read(self):
            self.client.get("/")
    """


def write_locust_file(folder: Path, text: str, name: str = "test_of_mine.py") -> str:
    path = folder / name
    path.write_text(dedent(text))
    return str(path)


def preflight(folder: Path, text: str, user_classes: tuple[str, ...] = ()) -> PreflightDone:
    with LoadProcess("loadgen.locustfile") as load:
        load.configure(Endpoint(()), LocustWorkload(write_locust_file(folder, text), user_classes))
        return load.preflight()


@pytest.mark.timing
def test_each_request_of_locust_test_is_recorded_as_one_row(tmp_path: Path) -> None:
    with ScriptedServer(Script(delay_s=0.02, paths=PATHS)) as server, LoadProcess("loadgen.locustfile") as load:
        assert (load.pacing, load.event_loop) == ("locust", "gevent")
        load.configure(
            Endpoint((server.url,)), LocustWorkload(write_locust_file(tmp_path, TWO_CLASSES), spawn_per_s=100)
        )
        preflight_done = load.preflight()
        stage_run = StageRun(load, plan(arrivals=ClosedArrivals(4), lead_in_s=0.3))
        received_count = len(server.requests)
    assert preflight_done.error is None
    assert preflight_done.detail == f"Locust test test_of_mine.py: Reader, Writer, against {server.url}"
    assert any("Locust's own clients" in note for note in preflight_done.notes)
    assert any("Shape" in note and "is ignored" in note for note in preflight_done.notes)
    rows = stage_run.rows
    assert len(rows) == received_count
    assert {name: set(group["error"].fillna("none")) for name, group in rows.groupby("name")} == {
        "GET /page": {"none"},
        "GET /missing": {"http-4xx"},
        "GET /dropped": {"send"},
        "GET /broken": {"http-5xx"},
        "POST /form": {"bad-output"},
    }
    assert rows[["scheduled_ns", "first_byte_ns"]].isna().all(axis=None)
    assert set(rows["status"].dropna()) == {200, 404, 503}
    assert rows["index"].tolist() == list(range(len(rows)))
    start_ns, end_ns = stage_run.ended.start_ns - 300_000_000, stage_run.ended.end_ns
    assert rows["sent_ns"].between(start_ns, end_ns).all()
    assert rows["end_ns"].between(start_ns, end_ns).all()
    assert (rows["sent_ns"] < stage_run.ended.start_ns).any()
    latency_ms = (rows["end_ns"] - rows["sent_ns"])[rows["name"] == "GET /page"] / 1e6
    assert 20 <= latency_ms.median() < 30
    assert (stage_run.ended.scheduled, stage_run.ended.stopped_early, stage_run.ended.rates) == (None, False, ())
    assert stage_run.progress[-1].completed > 0
    assert stage_run.progress[-1].in_flight is None


def test_sent_and_end_times_of_rows_match_server_clock(tmp_path: Path) -> None:
    with ScriptedServer(Script(delay_s=0.05)) as server, LoadProcess("loadgen.locustfile") as load:
        load.configure(Endpoint((server.url,)), LocustWorkload(write_locust_file(tmp_path, ONE_CLASS)))
        rows = StageRun(load, plan(arrivals=ClosedArrivals(1))).rows
        received_times_ns = sorted(server.received_ns)
    assert len(rows) == len(received_times_ns)
    for sent_ns, received_ns, end_ns in zip(rows["sent_ns"], received_times_ns, rows["end_ns"], strict=True):
        assert sent_ns - 1_000_000 < received_ns < end_ns - 49_000_000


@pytest.mark.timing
def test_two_stages_run_in_sequence_and_fire_locust_events(tmp_path: Path) -> None:
    text = (
        ONE_CLASS
        + """
    from pathlib import Path
    from locust import events
    def note(what):
        with Path(__file__).with_suffix(".log").open("a") as log:
            log.write(what + " ")
    events.init_command_line_parser.add_listener(lambda parser: parser.add_argument("--mine", default="a-default"))
    events.init.add_listener(lambda environment, **_: note("init " + environment.parsed_options.mine))
    events.test_start.add_listener(lambda environment, **_: note("start"))
    events.test_stop.add_listener(lambda environment, **_: note("stop"))
    events.quitting.add_listener(lambda environment, **_: note("quitting"))
    """
    )
    with ScriptedServer(Script()) as server, LoadProcess("loadgen.locustfile") as load:
        load.configure(Endpoint((server.url,)), LocustWorkload(write_locust_file(tmp_path, text)))
        stages = [StageRun(load, plan(duration=0.3, arrivals=ClosedArrivals(2))) for _ in range(2)]
    assert [stage_run.rows["error"].isna().all() and len(stage_run.rows) > 5 for stage_run in stages] == [True, True]
    if sys.platform == "linux":
        assert all(stage_run.ended.cpu_wait_s is not None and stage_run.ended.cpu_wait_s >= 0 for stage_run in stages)
    log = (tmp_path / "test_of_mine.log").read_text()
    assert log == "init a-default start stop start stop quitting "


def test_host_of_locust_file_is_used_when_url_is_missing(tmp_path: Path) -> None:
    with ScriptedServer(Script()) as server, LoadProcess("loadgen.locustfile") as load:
        load.configure(
            Endpoint(()), LocustWorkload(write_locust_file(tmp_path, ONE_CLASS.replace("{host}", server.url)))
        )
        assert server.url in load.preflight().detail
        assert StageRun(load, plan(duration=0.3, arrivals=ClosedArrivals(1))).rows["error"].isna().all()


def test_preflight_names_only_selected_user_classes(tmp_path: Path) -> None:
    assert (
        "test_of_mine.py: Writer, without a host" in preflight(tmp_path, TWO_CLASSES, user_classes=("Writer",)).detail
    )


def test_requests_to_closed_port_fail_with_connect_error(tmp_path: Path) -> None:
    with ScriptedServer(Script()) as server:
        closed_url = server.url
    with LoadProcess("loadgen.locustfile") as load:
        for text in (ONE_CLASS, ONE_CLASS.replace("FastHttpUser", "HttpUser")):
            load.configure(Endpoint((closed_url,)), LocustWorkload(write_locust_file(tmp_path, text)))
            assert set(StageRun(load, plan(duration=0.3, arrivals=ClosedArrivals(1))).rows["error"]) == {"connect"}


@pytest.mark.timing
def test_max_requests_and_stop_end_a_stage_early(tmp_path: Path) -> None:
    with ScriptedServer(Script()) as server, LoadProcess("loadgen.locustfile") as load:
        load.configure(Endpoint((server.url,)), LocustWorkload(write_locust_file(tmp_path, ONE_CLASS)))
        limited = StageRun(load, plan(duration=60, arrivals=ClosedArrivals(1), max_requests=5))
        threading.Timer(0.3, load.stop, (True,)).start()
        stopped = StageRun(load, plan(duration=60, arrivals=ClosedArrivals(1)))
    assert 5 <= len(limited.rows) < 20
    assert (limited.ended.stopped_early, stopped.ended.stopped_early) == (False, True)
    assert len(stopped.rows) > 5


@pytest.mark.timing
def test_stop_without_drain_ends_stage_despite_hanging_users(tmp_path: Path) -> None:
    with ScriptedServer(Script(Reply(mode="hang"))) as server, LoadProcess("loadgen.locustfile") as load:
        load.configure(Endpoint((server.url,)), LocustWorkload(write_locust_file(tmp_path, ONE_CLASS)))
        before_s = perf_counter()
        stage_run = StageRun(load, plan(duration=60, arrivals=ClosedArrivals(2), drain_s=30), continues=False)
    assert perf_counter() - before_s < 10
    assert stage_run.ended.stopped_early


def test_runner_quit_in_locust_test_ends_stage_early(tmp_path: Path) -> None:
    text = ONE_CLASS + "        self.environment.runner.quit()\n"
    with ScriptedServer(Script()) as server, LoadProcess("loadgen.locustfile") as load:
        load.configure(Endpoint((server.url,)), LocustWorkload(write_locust_file(tmp_path, dedent(text))))
        stage_run = StageRun(load, plan(duration=60, arrivals=ClosedArrivals(1)))
    assert stage_run.ended.stopped_early


def test_import_error_of_locust_file_is_reported_without_traceback(tmp_path: Path) -> None:
    """Other invalid files are covered by test_user_test.py."""
    with LoadProcess("loadgen.locustfile") as load:
        load.configure(Endpoint(()), LocustWorkload(write_locust_file(tmp_path, "x = 1\nraise KeyError('why')\n")))
        with pytest.raises(LoadError, match=r"^test_of_mine\.py, line 2: KeyError: 'why'$") as failed:
            load.preflight()
    assert failed.value.is_workload_invalid
    assert "Traceback" not in str(failed.value.hint)


def test_open_arrivals_are_rejected_for_locust_test(tmp_path: Path) -> None:
    with LoadProcess("loadgen.locustfile") as load:
        load.configure(Endpoint(("http://127.0.0.1:1",)), LocustWorkload(write_locust_file(tmp_path, ONE_CLASS)))
        with pytest.raises(LoadError, match="controls its own request times") as failed:
            StageRun(load, plan(arrivals=OpenArrivals("poisson", ((0.0, 5.0),))))
    assert failed.value.is_workload_invalid


def test_locust_test_without_requests_fails_with_task_exception(tmp_path: Path) -> None:
    text = ONE_CLASS.replace('self.client.get("/")', 'self.nothing["of that name"]')
    with LoadProcess("loadgen.locustfile") as load:
        load.configure(Endpoint(("http://127.0.0.1:1",)), LocustWorkload(write_locust_file(tmp_path, text)))
        with pytest.raises(LoadError, match="made no request: a task raised AttributeError"):
            StageRun(load, plan(duration=0.3, arrivals=ClosedArrivals(1)))


@pytest.mark.parametrize("kind", ["HttpUser", "FastHttpUser"])
def test_locust_test_without_host_is_rejected_with_hint(tmp_path: Path, kind: str) -> None:
    text = ONE_CLASS.replace('host = "{host}"', "").replace("FastHttpUser", kind)
    with LoadProcess("loadgen.locustfile") as load:
        load.configure(Endpoint(()), LocustWorkload(write_locust_file(tmp_path, text)))
        with pytest.raises(LoadError, match="made no request: One has no host") as failed:
            StageRun(load, plan(duration=0.2, arrivals=ClosedArrivals(1)))
    assert failed.value.is_workload_invalid
    assert "--host" in str(failed.value.hint)


@pytest.mark.timing
def test_extended_stage_runs_to_new_end_and_first_error_is_reported_once(tmp_path: Path) -> None:
    with ScriptedServer(Script(Reply(503))) as server, LoadProcess("loadgen.locustfile") as load:
        test = write_locust_file(tmp_path, ONE_CLASS.format(host=server.url))
        load.configure(Endpoint(()), LocustWorkload(test, spawn_per_s=100))
        extend = threading.Timer(0.2, load.extend, (3.0,))
        stage_run = StageRun(load, plan(duration=2, arrivals=ClosedArrivals(2)), on_started=extend.start)
    assert stage_run.ended.duration_s == 3.0
    last_s = (stage_run.rows["sent_ns"].max() - stage_run.ended.start_ns) / 1e9
    assert 2.5 < last_s < 4.0
    (first_error,) = stage_run.ended.first_errors
    assert (first_error.error, first_error.text[:32]) == ("http-5xx", "status 503 (Service Unavailable)")
    assert first_error.at_ns <= stage_run.rows["end_ns"].min() + 1_000_000
