from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from django_multisession.drivers.log_lines import ONCE, Limit, LineCounter


def test_a_limit_lets_so_many_lines_through_in_each_interval() -> None:
    counter, limit = LineCounter(), Limit(2, 60)
    times = [10.0, 10.0, 69.9, 69.9, 70.0, 71.0, 129.0, 500.0]
    left_out = [counter.admit("line", limit, now) for now in times]
    assert left_out == [0, 0, None, None, 2, 0, None, 1]
    assert counter.admit("another", limit, 500.0) == 0


def test_of_many_threads_one_writes_the_line() -> None:
    counter = LineCounter()

    def write(now: float) -> bool:
        return counter.admit("line", ONCE, now) is not None

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(write, [10.0] * 200)) == 1
    assert not write(1e12)
