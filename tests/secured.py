"""Servers that ask for a password and speak TLS, with an authority that lives as long as the test."""

from __future__ import annotations

import datetime
import ipaddress
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from core.settings import Settings
from local_stack.servers.stack import Stack, endpoints_settings
from local_stack.servers.topics import create_topics
from tests.conftest import SHORT_LIVED

USER = "plant"
PLAIN = 16


class Secrets(NamedTuple):
    """Where they lie.

    Args:
        ca: certificate of the authority.
        certificate: key and certificate of a server on loopback.
        kafka, cassandra: passwords of `plant`.
    """

    ca: Path
    certificate: Path
    kafka: Path
    cassandra: Path

    def words(self) -> list[bytes]:
        """What must show nowhere: of each password the part before what is written otherwise where it is quoted."""
        return [path.read_bytes()[:PLAIN] for path in (self.kafka, self.cassandra)]


def make_secrets(folder: Path) -> Secrets:
    """Write an authority, a certificate of 127.0.0.1, and two random passwords with characters that need quoting."""
    made = Secrets(*(folder / name for name in ("ca.pem", "server.pem", "kafka.password", "cassandra.password")))
    for path in (made.kafka, made.cassandra):
        path.write_text(f"""{secrets.token_urlsafe(12)}'"\\ ,={secrets.token_urlsafe(6)}\n""")
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _named("stationwatch test authority")
    of_authority = _begun(issuer, issuer, authority).add_extension(x509.BasicConstraints(True, 0), critical=True)
    made.ca.write_bytes(_pem(of_authority.sign(authority, hashes.SHA256())))
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    of_server = (
        _begun(_named("stationwatch test server"), issuer, own)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .sign(authority, hashes.SHA256())
    )
    key = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made.certificate.write_bytes(key + _pem(of_server))
    return made


def secured(settings: Settings, made: Secrets) -> Settings:
    """Return `settings` with logins and TLS."""
    return settings.model_copy(
        update={
            "kafka_security_protocol": "SASL_SSL",
            "kafka_user": USER,
            "kafka_password_file": made.kafka,
            "kafka_ca_file": made.ca,
            "cassandra_user": USER,
            "cassandra_password_file": made.cassandra,
            "cassandra_tls": True,
            "cassandra_ca_file": made.ca,
        }
    )


@contextmanager
def secured_stack(home: Path, made: Secrets) -> Iterator[tuple[Stack, Settings]]:
    """Kafka with SASL_SSL and SCRAM, Cassandra with passwords and TLS, and settings that reach them."""
    settings = Settings(_env_file=None, home=home, kafka_port=0, cassandra_port=0, server_metrics=False)
    settings = secured(settings, made)
    options = {"kafka": SHORT_LIVED, "cassandra": SHORT_LIVED}
    stack = Stack(settings, java_options=options, say=print, certificate=made.certificate)
    try:
        yield stack, endpoints_settings(settings, stack.up())
    finally:
        stack.down()


def own_topics(settings: Settings, mark: str) -> Settings:
    """Return settings with keyspace and topics of a test's own; the topics exist."""
    mine = settings.model_copy(
        update={
            "cassandra_keyspace": f"test_{mark}",
            "readings_topic": f"readings-{mark}",
            "rejected_topic": f"readings-{mark}.rejected",
        }
    )
    create_topics(mine)
    return mine


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
