"""The loop of ``clearsessions`` and its words, without an engine."""

from __future__ import annotations

import json
from typing import Any

from django_multisession.management import clearing
from django_multisession.management.clearing import Limits, Tally
from django_multisession.testing.rows import for_each


def times_of(*times: float) -> Any:
    return iter(times).__next__


def test_the_time_limit_is_looked_at_after_each_batch() -> None:
    tallies = list(
        clearing.clear(
            lambda limit: limit,
            Limits(batch_size=10, max_seconds=5),
            times_of(1, 4.9, 5, 6),
            lambda: None,
        )
    )
    assert [tally.removed for tally in tallies] == [10, 20, 30]
    assert [tally.stopped_by for tally in tallies] == [None, None, "max_seconds"]


def test_a_signal_goes_before_the_time_limit() -> None:
    (tally,) = clearing.clear(
        lambda limit: limit, Limits(batch_size=1, max_seconds=0), lambda: 1.0, lambda: "SIGTERM"
    )
    assert tally.stopped_by == "SIGTERM"


def test_a_run_ends_with_the_first_batch_that_is_not_full() -> None:
    tallies = list(
        clearing.clear(batches_of([10, 10, 0]), Limits(batch_size=10), lambda: 0.0, lambda: None)
    )
    assert tallies[-1] == Tally(removed=20, batches=2, is_complete=True)


def batches_of(answers: list[int]) -> Any:
    left = iter(answers)
    return lambda _limit: next(left)


def test_seconds_are_told_to_the_millisecond() -> None:
    told = clearing.as_json(Tally(seconds=2 / 3), engine="", expires_by_itself=True)
    assert json.loads(told)["seconds"] == 0.667


@for_each("stopped_by", [None, "outage"])
def test_a_dry_run_is_neither_complete_nor_incomplete(stopped_by: str | None) -> None:
    # It leaves everything behind that it counted, and nothing that it was to remove.
    tally = Tally(is_dry_run=True, expired=2500, stopped_by=stopped_by)
    assert (
        json.loads(clearing.as_json(tally, engine="", expires_by_itself=True))["complete"] is None
    )


@for_each("is_complete", [False, True])
def test_another_run_says_whether_it_is_complete(is_complete: bool) -> None:
    told = clearing.as_json(Tally(is_complete=is_complete), engine="", expires_by_itself=True)
    assert json.loads(told)["complete"] is is_complete


@for_each(
    ("tally", "by_itself", "said"),
    [
        (
            Tally(removed=1, batches=1, is_complete=True),
            False,
            "Removed 1 expired session in 1 batch, 0.0 s.",
        ),
        (
            Tally(removed=200000, batches=200, seconds=7.25, is_complete=True),
            True,
            (
                "Removed 200,000 expired sessions in 200 batches, 7.2 s. "
                "The session store removes them by itself."
            ),
        ),
        (Tally(is_complete=True), False, "There are no expired sessions to remove."),
        (
            Tally(is_dry_run=True, expired=1),
            False,
            "Dry run: 1 expired session is to be removed, none was.",
        ),
        (
            Tally(is_dry_run=True, expired=0),
            True,
            "There are no expired sessions to remove. The session store removes them by itself.",
        ),
        (
            Tally(is_dry_run=True, stopped_by="outage"),
            True,
            "Nothing was counted; run the command again.",
        ),
        (
            Tally(stopped_by="outage"),
            True,
            "Removed nothing until then; run the command again.",
        ),
    ],
)
def test_what_is_said(tally: Tally, by_itself: bool, said: str) -> None:
    assert clearing.described(tally, expires_by_itself=by_itself) == said
