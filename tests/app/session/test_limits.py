from app.session.limits import LimitMonitor
from app.session.spec import LimitSpec


def test_reached_duration_limit_is_the_stop_reason_of_a_run() -> None:
    monitor = LimitMonitor(LimitSpec(duration_s=10), start_ns=0)
    assert monitor.check(int(9.9e9))
    assert not monitor.check(int(10e9))
    assert monitor.stop_reason == "the run reached limits.duration (10 s)"


def test_request_limit_counts_requests_of_all_stages() -> None:
    monitor = LimitMonitor(LimitSpec(requests=1000), start_ns=0)
    monitor.add_sent(600)
    assert monitor.cap_requests(None) == 400
    assert monitor.cap_requests(500) == 400
    assert monitor.cap_requests(300) == 300
    assert monitor.check(1, sent_in_stage=399)
    assert not monitor.check(1, sent_in_stage=400)


def test_cost_limit_is_converted_to_time_by_the_hourly_price() -> None:
    monitor = LimitMonitor(LimitSpec(usd=1.0, usd_per_hour=3600.0), start_ns=0)
    assert monitor.check(int(0.9e9))
    assert not monitor.check(int(1.1e9))
    assert monitor.stop_reason is not None
    assert "limits.usd ($1)" in monitor.stop_reason


def test_first_stop_reason_of_a_run_is_not_replaced() -> None:
    monitor = LimitMonitor(LimitSpec(duration_s=10), start_ns=0)
    monitor.abort("abort_when: too many errors")
    assert not monitor.check(1)
    monitor.abort("abort_when: later")
    assert monitor.stop_reason == "abort_when: too many errors"
