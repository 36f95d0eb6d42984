"""Search by command, further than CI does.

``python -m tests.exhaustive`` searches what CI searches, ``--long`` the rest, a bound's name that
bound. ``--one "login,save | logout" --user 1 --faults 1`` searches one program tuple: requests are
separated by |, tasks of a gather by +, verbs by commas.
"""

from __future__ import annotations

import argparse
import os
import sys

import django


def main() -> int:
    """Print what was searched and found; return 1 for what no documented limit explains."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from tests.exhaustive import bounds, known
    from tests.exhaustive.explore import Budget

    parser = argparse.ArgumentParser(prog="python -m tests.exhaustive", description=__doc__)
    parser.add_argument("bounds", nargs="*", metavar="BOUND", help=", ".join(bounds.BOUNDS))
    parser.add_argument("--long", action="store_true", help="every bound that CI doesn't search")
    parser.add_argument("--one", metavar="PROGRAMS", help="one program tuple")
    parser.add_argument("--user", help="who is logged in at first; an anonymous session by default")
    parser.add_argument("--cookies", default="1", help="0 or 1 each: 01 has a dead one first")
    parser.add_argument("--listed", action="store_true", help="another engine lists the sessions")
    for name in Budget._fields:
        parser.add_argument(f"--{name}", type=int, default=0)
    given = parser.parse_args()
    if given.one:
        budget = Budget(given.faults, given.clocks, given.rollbacks)
        cookies = tuple(cookie == "1" for cookie in given.cookies)
        programs = bounds.parsed(given.one)
        findings = bounds.explore_one(programs, given.user, budget, cookies, is_listed=given.listed)
        sys.stdout.write(bounds.summary(findings) + "\n")
        return bool(findings)
    searched = bounds.BY_COMMAND if given.long else (*bounds.SHORT, *bounds.LONG)
    names = given.bounds or [bound.name for bound in searched]
    wrong = 0
    for name in names:
        bound = bounds.BOUNDS[name]
        result = bounds.search(bound)
        new = known.new_findings(bound, result.findings)
        stale = list(known.stale_rows(bound, result.findings))
        limits = len(result.findings) - len(new)
        sys.stdout.write(f"{name}: {result}, {limits} findings are documented limits\n")
        sys.stdout.write(bounds.summary(new) + "\n" if new else "")
        sys.stdout.writelines(f"    a limit no more: {row}\n" for row in stale)
        sys.stdout.flush()
        wrong += len(new) + len(stale)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
