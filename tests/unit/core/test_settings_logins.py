"""Logins and certificates: read from files, checked at start, shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import BrokerRefused, BrokerUnavailable, SettingsError
from core.kafka_errors import broker_error, overheard
from core.settings import PREFIX, Settings, load_settings
from storage.driver.session import StoreConfig

SECRET = 'pa"ss\\w0rd'  # noqa: S105 - of nobody


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder without anybody's `.env`."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def given(tmp_path: Path) -> dict[str, object]:
    (tmp_path / "password").write_text(f"{SECRET}\n")
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    return {
        "kafka_security_protocol": "SASL_SSL", "kafka_user": "plant", "kafka_password_file": tmp_path / "password",
        "kafka_ca_file": tmp_path / "ca.pem", "cassandra_user": "plant",
        "cassandra_password_file": tmp_path / "password", "cassandra_tls": True,
        "cassandra_ca_file": tmp_path / "ca.pem", "mlflow_user": "plant",
        "mlflow_password_file": tmp_path / "password",
    }  # fmt: skip


def test_clients_get_the_login(given: dict[str, object], tmp_path: Path) -> None:
    """Breaks when a client is opened without what the settings say, or a quote in a password ends Kafka's line."""
    settings = Settings(_env_file=None, **given)
    assert settings.kafka_client_options() == {
        "bootstrap_servers": ["127.0.0.1:9092"], "security_protocol": "SASL_SSL",
        "ssl_cafile": str(tmp_path / "ca.pem"), "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "plant",
        "sasl_plain_password": SECRET,
    }  # fmt: skip
    source = settings.kafka_source_options()
    assert source["kafka.sasl.jaas.config"].endswith(r'required username="plant" password="pa\"ss\\w0rd";')
    assert source["kafka.ssl.truststore.certificates"].startswith("-----BEGIN")
    assert settings.mlflow_login() == ("plant", SECRET)
    store = StoreConfig.from_settings(settings)
    assert (store.username, store.password, store.tls) == ("plant", SECRET, True)


def test_a_password_shows_in_no_representation(given: dict[str, object]) -> None:
    """Breaks when settings or a store's address, which logs and errors show, hold a password."""
    settings = Settings(_env_file=None, **given)
    store = StoreConfig.from_settings(settings)
    assert SECRET not in f"{settings!r} {store!r} {store.place}"
    assert SECRET.encode("unicode_escape").decode() not in f"{settings!r} {store!r}"


def test_without_a_login_nothing_is_said_of_one() -> None:
    """Breaks when a laptop's broker is asked for a login."""
    settings = Settings(_env_file=None)
    assert settings.kafka_client_options() == {
        "bootstrap_servers": ["127.0.0.1:9092"], "security_protocol": "PLAINTEXT"
    }  # fmt: skip
    assert settings.mlflow_login() is None and StoreConfig.from_settings(settings) == StoreConfig()


@pytest.mark.parametrize("name", ["kafka_password_file", "kafka_ca_file", "cassandra_password_file"])
@pytest.mark.parametrize("trouble", ["missing", "empty", "a folder"])
def test_a_secret_that_cannot_be_used_is_named(
    given: dict[str, object], name: str, trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks when a program starts, and fails minutes later, over a file that was never there."""
    bad = tmp_path / "bad"
    if trouble == "empty":
        bad.write_text(" \n")
    elif trouble == "a folder":
        bad.mkdir()
    for setting, value in {**given, name: bad}.items():
        monkeypatch.setenv(f"{PREFIX}{setting.upper()}", str(value))
    with pytest.raises(SettingsError, match=f"{PREFIX}{name.upper()}.*{bad} (cannot be read|is empty)") as caught:
        load_settings()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kafka_user": "", "kafka_password_file": None}, "KAFKA_SECURITY_PROTOCOL=SASL_SSL: expected KAFKA_USER"),
        ({"kafka_password_file": None}, "KAFKA_USER is set and KAFKA_PASSWORD_FILE is not"),
        ({"kafka_security_protocol": "SASL_PLAINTEXT"}, "KAFKA_CA_FILE is set, but"),
        ({"cassandra_user": ""}, "CASSANDRA_PASSWORD_FILE is set and CASSANDRA_USER is not"),
        ({"cassandra_tls": False}, "expected CASSANDRA_TLS=true"),
    ],
)
def test_half_a_login_is_refused(given: dict[str, object], changed: dict[str, object], said: str) -> None:
    """Breaks when a password that is set is not used, or travels past the TLS that was meant."""
    with pytest.raises(SettingsError, match=said):
        load_settings(**{**given, **changed})


def test_why_a_broker_does_not_answer_is_told() -> None:
    """Breaks when a wrong password looks like a broker that is away."""
    timeout = TimeoutError("no broker")
    wrong = broker_error("plant:9092", timeout, ["not ready", "failed: SaslAuthenticationFailedError: bad"])
    assert isinstance(wrong, BrokerRefused) and f"{PREFIX}KAFKA_PASSWORD_FILE" in str(wrong)
    distrusted = broker_error("plant:9092", timeout, ["failed: [SSL: CERTIFICATE_VERIFY_FAILED]"])
    assert isinstance(distrusted, BrokerRefused) and f"{PREFIX}KAFKA_CA_FILE" in str(distrusted)
    closed = broker_error("plant:9092", timeout, ["failed: KafkaConnectionError: socket disconnected"])
    assert isinstance(closed, BrokerUnavailable) and f"{PREFIX}KAFKA_SECURITY_PROTOCOL" in str(closed)
    assert isinstance(broker_error("plant:9092", timeout, []), BrokerUnavailable)


def test_a_shut_log_is_overheard_and_stays_shut(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks when the reason is not heard because a program silenced the client, or listening makes it speak."""
    import logging

    parent, child = logging.getLogger("overheard"), logging.getLogger("overheard.child")
    parent.setLevel(logging.CRITICAL)
    with overheard("overheard.child") as heard:
        child.warning("the %s", "reason")
    child.warning("later")
    assert heard == ["the reason"] and caplog.records == [] and child.filters == []
