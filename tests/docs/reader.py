"""Somebody who follows a page: writes its files, types its commands, starts its servers."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from servers import START_SECONDS, STOP_SECONDS

from tests.docs.pages import ROOT, Block, blocks_of, changed

COMMAND_SECONDS = 120.0
POLL_SECONDS = 0.05

#: Not typed: the environment that runs the tests stands in for the one that the page makes.
MAKES_ENVIRONMENT = "python3 -m venv venv"
INSTALLS = "pip install "
#: What runs until it is stopped.
SERVERS = ("./redis-server ", "./mongod ", "python manage.py runserver", "uvicorn ")


class Reader:
    """Follows *page* in an empty directory, on ports of its own.

    Args:
        page: Path inside the repository.
        directory: Where to work.
        ports: What to write instead of each port of the page, in commands and in files.
    """

    def __init__(self, page: str, directory: Path, ports: Mapping[str, int]) -> None:
        self.blocks = blocks_of(page)
        self.done: list[Block] = []
        self.directory = self._base = directory
        self._ports = ports
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._running):
            self.stop(name)

    def follow(self, section: str) -> None:
        """Do what the blocks of *section* say, in order."""
        mine = [block for block in self.blocks if block.section == section]
        assert mine, f"there is no section {section!r}"
        for block in mine:
            self.do(block)

    def do(self, block: Block) -> None:
        """Do what *block* says."""
        self.done.append(block)
        if block.language != "console":
            self._write(block)
            return
        for command in block.commands:
            if command.startswith(SERVERS):
                self._start(command)
            elif command == MAKES_ENVIRONMENT:
                (self.directory / "venv").symlink_to(sys.prefix)
            elif not command.startswith(INSTALLS):
                self._run(command)

    def stop(self, name: str) -> None:
        """Press Ctrl-C in the terminal where *name* runs."""
        process = self._running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def start(self, name: str) -> None:
        """Type the command again that started *name*."""
        commands = [
            command
            for block in self.done
            if block.language == "console"
            for command in block.commands
            if command.startswith(SERVERS) and _name(command) == name
        ]
        self._start(commands[-1])

    def log_of(self, name: str) -> str:
        """Return what *name* has written to its terminal."""
        return (self._base / f"{name}.log").read_text()

    def wait_for(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait until *is_so*, and fail if it does not come true.

        Raises:
            AssertionError: It did not.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if is_so():
                    return
            time.sleep(POLL_SECONDS)
        logs = "\n".join(path.read_text()[-2000:] for path in self._base.glob("*.log"))
        raise AssertionError(f"{what} did not happen.\n{logs}")

    def _write(self, block: Block) -> None:
        assert block.file, f"{block} does not say which file it is"
        path = self.directory / block.file
        if block.language == "diff":
            path.write_text(changed(path.read_text(), self._with_ports(block.text)))
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() + "\n\n" if block.is_appended else ""
        path.write_text(text + self._with_ports(block.text))

    def _run(self, command: str) -> None:
        run = subprocess.run(
            ["bash", "-c", f"set -e\n{self._with_ports(command)}\npwd >'{self._base}/where'"],
            cwd=self.directory,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"
        if " check" in command:
            assert "no issues" in run.stdout, run.stderr
        self.directory = Path((self._base / "where").read_text().strip())

    def _start(self, command: str) -> None:
        name = _name(command)
        assert name not in self._running, f"{name} is running already"
        typed = self._with_ports(command)
        with (self._base / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                ["bash", "-c", f"exec {typed}"],
                cwd=self.directory,
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

        listens_on = next(port for port in self._ports.values() if str(port) in typed)
        self.wait_for(lambda: _listens(listens_on), f"{name} listening")

    def _with_ports(self, text: str) -> str:
        for port, mine in self._ports.items():
            text = re.sub(rf"\b{port}\b", str(mine), text)
        # It listens where it is told, and does not start itself a second time to watch files.
        return re.sub(
            r"manage\.py runserver$",
            f"manage.py runserver --noreload {self._ports.get('8000', 8000)}",
            text,
            flags=re.MULTILINE,
        )

    def _environment(self) -> dict[str, str]:
        """Return the environment of a user's shell: nothing of this test run is in it."""
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {
            "HOME": str(self._base),
            "PATH": programs,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def _name(command: str) -> str:
    """Return what a server's command starts: ``site``, or the program."""
    program = command.split(maxsplit=1)[0].removeprefix("./")
    return "site" if program in {"python", "uvicorn"} else program
