"""TLS: with whom it is spoken, and for how long."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import os
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from servers import RedisServer as Redis

from django_multisession.exceptions import OutageKind, StoreUnavailable
from tests.drivers.redis_fixtures import configure, own_redis
from tests.drivers.redis_scripted import ScriptedServer
from tests.drivers.redis_sending import Open, open_server, outage

__all__ = ["open_server", "own_redis"]


@dataclasses.dataclass(frozen=True)
class Certificates:
    directory: Path

    def make(self, name: str, issuer: str | None = None) -> None:
        """Write ``name.crt`` and ``name.key``, signed by *issuer* or by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        signer, signed_by = key, subject
        if issuer is not None:
            loaded = serialization.load_pem_private_key(
                (self.directory / f"{issuer}.key").read_bytes(), None
            )
            assert isinstance(loaded, ec.EllipticCurvePrivateKey)
            signer = loaded
            signed_by = x509.load_pem_x509_certificate(
                (self.directory / f"{issuer}.crt").read_bytes()
            ).subject
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signed_by)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                False,
            )
            # Python 3.13 takes no certificate without these (RFC 5280).
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
            )
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=issuer is None,
                    crl_sign=issuer is None,
                    encipher_only=False,
                    decipher_only=False,
                ),
                True,
            )
            .sign(signer, hashes.SHA256())
        )
        (self.directory / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (self.directory / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


class TLSEnd:
    """Speaks TLS on a port and passes what is said on to a Redis: not every build has TLS."""

    host = "127.0.0.1"

    def __init__(self, server: Redis, directory: Path, *, asks_client: bool = False) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(directory / "server.crt", directory / "server.key")
        if asks_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(directory / "authority.crt")
        self._context, self._server = context, server
        self._scripted = ScriptedServer(self._pass)

    @property
    def url(self) -> str:
        return self._scripted.url.replace("redis:", "rediss:")

    @property
    def connections(self) -> int:
        return self._scripted.connections

    def __enter__(self) -> Self:
        self._scripted.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._scripted.__exit__(*exception)

    def _pass(self, taken: socket.socket) -> None:
        with (
            self._context.wrap_socket(taken, server_side=True) as client,
            socket.create_connection((self._server.host, self._server.port)) as redis_socket,
        ):

            def answer() -> None:
                with contextlib.suppress(OSError):
                    while received := redis_socket.recv(65536):
                        client.sendall(received)
                    client.shutdown(socket.SHUT_RDWR)

            answering = threading.Thread(target=answer, daemon=True)
            answering.start()
            with contextlib.suppress(OSError):
                while received := client.recv(65536):
                    redis_socket.sendall(received)
            with contextlib.suppress(OSError):
                redis_socket.shutdown(socket.SHUT_RDWR)
            answering.join(10)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    made = Certificates(tmp_path)
    made.make("authority")
    made.make("server", "authority")
    made.make("client", "authority")
    return tmp_path


def test_tls_is_spoken_with_who_has_the_certificate(
    own_redis: Redis, certificates: Path, open_server: Open
) -> None:
    authority = str(certificates / "authority.crt")
    with TLSEnd(own_redis, certificates) as end:
        server = open_server(end, ssl_ca_certs=authority, socket_timeout=0.5, db=4)
        for size in (1, 16384, 3_000_000):
            value = os.urandom(size)
            assert server.send(("ECHO", value)) == value
        assert end.connections == 1
        with pytest.raises(StoreUnavailable) as caught:
            server.send(("BLPOP", "nothing", 0))
        assert caught.value.kind is OutageKind.TIMED_OUT
        configure(own_redis, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert server.send(("PING",)) == b"PONG"
        configure(own_redis, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert server.send(("PING",)) == b"PONG"
        by_data = open_server(end, ssl_ca_data=Path(authority).read_text())
        assert by_data.send(("PING",)) == b"PONG"
        careless = open_server(end, ssl_cert_reqs="none")
        assert careless.send(("PING",)) == b"PONG"


def test_tls_is_not_spoken_with_who_has_another_certificate_or_name(
    own_redis: Redis, certificates: Path, open_server: Open
) -> None:
    with TLSEnd(own_redis, certificates) as end:
        for options in (
            {},
            {"ssl_ca_certs": str(certificates / "authority.crt"), "host": "localhost"},
        ):
            error = outage(open_server(end, **options), "PING")
            assert error.kind is OutageKind.UNREACHABLE
            assert "SSLCertVerificationError" in str(error)
        assert end.connections == 2
        unchecked = open_server(
            end,
            ssl_ca_certs=str(certificates / "authority.crt"),
            host="localhost",
            ssl_check_hostname=False,
            ssl_min_version=ssl.TLSVersion.TLSv1_3,
        )
        assert unchecked.send(("PING",)) == b"PONG"


def test_a_certificate_of_the_client_is_shown(
    own_redis: Redis, certificates: Path, open_server: Open
) -> None:
    options = {"ssl_ca_certs": str(certificates / "authority.crt")}
    own = {
        "ssl_certfile": str(certificates / "client.crt"),
        "ssl_keyfile": str(certificates / "client.key"),
    }
    with TLSEnd(own_redis, certificates, asks_client=True) as end:
        assert open_server(end, **options, **own).send(("PING",)) == b"PONG"
        assert outage(open_server(end, **options), "PING").kind is OutageKind.UNREACHABLE


def test_a_tls_handshake_that_drips_holds_nobody_beyond_the_deadline(open_server: Open) -> None:
    def drip(taken: socket.socket) -> None:
        # The beginning of a record that never ends.
        taken.sendall(b"\x16\x03\x03\x40\x00")
        while not server.ended.wait(0.05):
            taken.sendall(b"\0")

    with ScriptedServer(drip) as server:
        url = dataclasses.make_dataclass("Secure", ["url"])(server.url.replace("redis", "rediss"))
        began = time.monotonic()
        error = outage(open_server(url, socket_connect_timeout=0.4), "PING")
        assert error.kind is OutageKind.TIMED_OUT
        assert 0.35 < time.monotonic() - began < 20
