from app.session.limits import LimitMonitor
from app.session.spec import LimitSpec


def test_the_limit_on_duration_names_itself() -> None:
    watch = LimitMonitor(LimitSpec(duration_s=10), start_ns=0)
    assert watch.check(int(9.9e9))
    assert not watch.check(int(10e9))
    assert watch.stop_reason == "the run reached limits.duration (10 s)"


def test_requests_count_over_all_stages() -> None:
    watch = LimitMonitor(LimitSpec(requests=1000), start_ns=0)
    watch.add_sent(600)
    assert watch.cap_requests(None) == 400
    assert watch.cap_requests(500) == 400
    assert watch.cap_requests(300) == 300
    assert watch.check(1, sent_in_stage=399)
    assert not watch.check(1, sent_in_stage=400)


def test_money_is_time_at_the_offers_price() -> None:
    watch = LimitMonitor(LimitSpec(usd=1.0, usd_per_hour=3600.0), start_ns=0)
    assert watch.check(int(0.9e9))
    assert not watch.check(int(1.1e9))
    assert watch.stop_reason is not None
    assert "limits.usd ($1)" in watch.stop_reason


def test_what_a_stage_came_to_ends_the_run_and_does_not_hide_the_limit_before_it() -> None:
    watch = LimitMonitor(LimitSpec(duration_s=10), start_ns=0)
    watch.abort("abort_when: too many errors")
    assert not watch.check(1)
    watch.abort("abort_when: later")
    assert watch.stop_reason == "abort_when: too many errors"
