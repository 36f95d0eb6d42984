"""``clearsessions`` in processes of its own: interrupted, in a terminal, in a log, in an outage."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.clearsessions_process import PATIENCE_SECONDS, Kept, end, start


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_ends_its_batch_and_says_what_it_removed(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    # So many and so slowly that no machine is done before the signal comes.
    expired, batch_size, begun = 1_000, 7, tmp_path / "begun"
    kept = Kept(expired=expired, seconds=0.2, begun=str(begun))
    run = start(kept, "--json", f"--batch-size={batch_size}")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not begun.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.send_signal(number)
    out, err, returned = end(run)
    told = json.loads(out)
    assert returned == code
    assert told["stopped_by"] == number.name
    assert told["complete"] is False
    assert told["removed"] == batch_size * told["batches"] < expired
    assert err.startswith(f"CommandError: Stopped by {number.name}. Removed {told['removed']:,} ")
    assert "Traceback" not in err


@pytest.mark.long
def test_a_terminal_gets_a_bar_that_moves_with_every_batch_and_a_program_pure_json() -> None:
    ours, theirs = pty.openpty()
    run = start(Kept(expired=500), "--json", "--batch-size=100", stderr=theirs)
    os.close(theirs)
    seen = b""
    # The terminal's end is an error on Linux, and nothing elsewhere.
    try:
        while more := os.read(ours, 4096):
            seen += more
    except OSError:
        pass
    os.close(ours)
    out, _ = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 0
    assert json.loads(out)["removed"] == 500
    drawn = {int(removed) for removed in re.findall(rb" (\d+)/500 \[", seen)}
    assert drawn == {0, 100, 200, 300, 400, 500}


@pytest.mark.long
def test_a_log_gets_one_line_for_many_batches() -> None:
    out, err, code = end(start(Kept(expired=200), "--batch-size=1"))
    assert code == 0
    assert out.startswith("Removed 200 expired sessions in 200 batches, ")
    assert out.count("\n") == 1
    # Nothing but what a machine that takes minutes for it has to say.
    assert err.count("\n") < 20
    assert "\r" not in err


@pytest.mark.long
def test_an_outage_is_told_without_a_traceback() -> None:
    out, err, code = end(start(Kept(is_down=True), "--json"))
    assert code == 1
    assert json.loads(out)["stopped_by"] == "outage"
    assert err == (
        "CommandError: The server did not answer (ConnectionLost). "
        "Removed nothing until then; run the command again.\n"
    )


def test_the_testproject_has_our_command() -> None:
    manage = Path(__file__).parents[1] / "testproject" / "manage.py"
    shown = subprocess.run(
        [sys.executable, manage, "clearsessions", "--help"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    for option in ("--batch-size", "--max-seconds", "--dry-run", "--json"):
        assert option in shown.stdout
