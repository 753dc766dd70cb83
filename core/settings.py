"""Every environment variable of stationwatch, read once by the entry points."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import platformdirs
from dotenv import dotenv_values
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.errors import SettingsError
from core.sensors import DEFAULT_SENSORS, Sensor, check_catalogue
from core.station_groups import StationGroups

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PREFIX = "STATIONWATCH_"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
Port = Annotated[int, Field(ge=0, le=65535)]
# Kafka's Java classes that log in.
_MECHANISMS = {
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
}


class Settings(BaseSettings):
    """What can be set. Each field is the variable `STATIONWATCH_<NAME>`; `.env` in the working folder is read too."""

    # Other programs may keep their variables in `.env` too; unknown names of ours are refused by `load_settings`.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    # Where things are kept
    home: Path = Field(
        Path(".stationwatch"), description="folder for everything that runs here: servers, checkpoint, MLflow, logs"
    )
    cache: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("stationwatch")),
        description="folder for downloaded jars, shared by checkouts; empty: in the user's cache folder",
    )

    # Kafka
    kafka_bootstrap: str = Field("", description="brokers, host:port,host:port; empty: the local broker at KAFKA_PORT")
    kafka_port: Port = Field(9092, description="port of the local broker; 0 is any free one")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how brokers are spoken to: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT`, `SASL_SSL`"
    )
    kafka_sasl_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] = Field(
        "SCRAM-SHA-512", description="how to log in to Kafka: `SCRAM-SHA-512`, `SCRAM-SHA-256`, `PLAIN`"
    )
    kafka_user: str = Field("", description="user of Kafka, with a SASL protocol")
    kafka_password_file: Path | None = Field(None, description="file that holds the password of KAFKA_USER")
    kafka_ca_file: Path | None = Field(
        None, description="certificates (PEM) that brokers' own are checked against; empty: those of the system"
    )
    readings_topic: str = Field("readings", description="topic the stations publish to")
    rejected_topic: str = Field("readings.rejected", description="topic of the dead letters")
    labels_topic: str = Field("fault-labels", description="topic of the simulator's injected faults")
    topic_partitions: int = Field(4, ge=1, le=10_000, description="partitions of the readings topic when it is created")
    topic_retention_hours: int = Field(168, ge=1, description="hours Kafka keeps readings")

    # Cassandra
    cassandra_hosts: str = Field("", description="contact points, host,host; empty: the local server at CASSANDRA_PORT")
    cassandra_port: Port = Field(9042, description="CQL port; 0 is any free one")
    cassandra_keyspace: str = Field(
        "stationwatch", pattern=r"^[a-z][a-z0-9_]{0,47}$", description="keyspace of this plant"
    )
    cassandra_datacenter: str = Field("datacenter1", description="local data centre of the driver")
    cassandra_user: str = Field("", description="user of Cassandra; empty: no login")
    cassandra_password_file: Path | None = Field(None, description="file that holds the password of CASSANDRA_USER")
    cassandra_tls: bool = Field(False, description="speak TLS with Cassandra, and check its certificate")
    cassandra_ca_file: Path | None = Field(
        None, description="certificates (PEM) that Cassandra's own are checked against; empty: those of the system"
    )
    cassandra_replication: int = Field(1, ge=1, le=9, description="replication factor when the keyspace is created")
    cassandra_heap_mb: int = Field(640, ge=256, description="heap of the local Cassandra, MiB")

    # What a station measures
    sensors: Annotated[tuple[Sensor, ...], NoDecode] = Field(
        DEFAULT_SENSORS,
        description="sensor catalogue: a JSON list, or the path of a file that holds one; empty: "
        "temperature, humidity, noise",
    )

    # The stream
    shards: int = Field(32, ge=1, le=4096, description="state shards; fixed for the life of a checkpoint")
    shuffle_partitions: int = Field(
        2, ge=1, le=4096, description="Spark tasks per batch; fixed for the life of a checkpoint"
    )
    spark_master: str = Field(
        "local[4,4]",
        description="Spark master of `make run`: tasks at a time, and tries of each; more than cores, as they wait",
    )
    spark_driver_memory: str = Field("768m", pattern=r"^\d+[mg]$", description="heap of the Spark driver of `make run`")
    spark_jars: str = Field(
        "", description="paths of the Kafka source's jars, comma-separated; empty: spark-submit brings them"
    )
    checkpoint: str = Field("", description="checkpoint folder or URI; empty: HOME/checkpoint")
    trigger_seconds: float = Field(1.0, ge=0, description="pause between the starts of two batches, s")
    max_offsets_per_trigger: int = Field(200_000, ge=1, description="most Kafka records in a batch")
    store_deadline_seconds: float = Field(
        120.0, gt=0, description="how long a task retries a write before its batch starts anew, s"
    )
    champion_poll_seconds: float = Field(5.0, gt=0, description="how often the stream looks for another champion, s")
    stream_metrics_port: Port = Field(9108, description="Prometheus port of the stream; 0 is any free one")

    simulator_metrics_port: Port = Field(
        0, description="Prometheus port of the simulated stations; 0 is none, with `make run` any free one"
    )
    levels_metrics_port: Port = Field(9111, description="Prometheus port of the plant's levels; 0 is any free one")
    metrics_host: str = Field("127.0.0.1", description="address on which all but the API serve metrics")
    server_metrics: bool = Field(
        True, description="Kafka, Cassandra and Spark of `make run` serve their JVM's metrics (JMX agent)"
    )
    spark_ui_port: Port = Field(
        0,
        description="port of Spark's page and Prometheus servlet, on loopback; 0 is none, with `make run` any free one",
    )
    spark_java_options: str = Field("", description="further Java options of the Spark driver, such as a -javaagent")

    # What is kept
    readings_kept: str = Field("all", description="`all`, `none`, or a share of whole stations such as `0.1`")
    readings_ttl_days: int = Field(30, ge=1, le=3650, description="days readings are kept in Cassandra")
    anomalies_ttl_days: int = Field(400, ge=1, le=3650, description="days anomalies are kept in Cassandra")
    feature_samples_per_minute: int = Field(64, ge=1, le=10_000, description="slots of feature samples a minute")

    # The model
    mlflow_tracking_uri: str = Field("", description="MLflow backend; empty: sqlite in HOME/mlflow")
    mlflow_user: str = Field("", description="user of the MLflow server; empty: no login")
    mlflow_password_file: Path | None = Field(None, description="file that holds the password of MLFLOW_USER")
    model_name: str = Field("station-detector", description="registered model")
    forest_trees: int = Field(1000, ge=1, le=10_000, description="trees of the Isolation Forest")
    false_alarm_budget: float = Field(
        1.0,
        gt=0,
        description="false alarm episodes a station and day that thresholds aim at, at one reading a minute; "
        "faster stations get more",
    )

    # Drift, and what follows from it
    drift_check_minutes: float = Field(60.0, gt=0, description="pause between two drift checks of the retrainer, min")
    drift_window_hours: float = Field(6.0, gt=0, le=168, description="length of a drift window, h")
    drift_windows: int = Field(3, ge=1, le=50, description="windows in a row that a drift check looks at")
    drift_persistent: int = Field(2, ge=1, le=50, description="how many of these a feature has to drift in")
    drift_least_readings: int = Field(
        500, ge=50, description="sampled readings below which a drift window says nothing"
    )
    retrain_automatically: bool = Field(
        False, description="file a retraining when drift lasts, or when RETRAIN_EVERY_DAYS have passed"
    )
    retrain_every_days: float = Field(0.0, ge=0, description="days after which the policy retrains anyway; 0 is never")
    retrain_cooldown_hours: float = Field(
        24.0, ge=0, description="hours after a retraining in which the policy files none"
    )
    retrain_freeze: str = Field(
        "", description="UTC times in which the policy files nothing, such as `Sat-Sun 00:00-24:00, 06:00-08:00`"
    )
    retrain_window_hours: float = Field(
        24.0, gt=0, le=720, description="how far back a retraining reads samples and series, h"
    )
    retrain_pause_seconds: float = Field(
        60.0, ge=0, description="seconds after a retraining in which nobody can ask for another"
    )
    promote_automatically: bool = Field(
        False, description="promote a challenger that passes the gates without asking anybody"
    )
    shadow_share: float = Field(
        0.1, ge=0, le=1, description="share of readings that a challenger scores beside the champion"
    )
    retrainer_metrics_port: Port = Field(9109, description="Prometheus port of the retrainer; 0 is any free one")

    # The stations of `make run`
    stations: int = Field(
        25, ge=0, le=1_000_000, description="simulated stations; 0 is none, and none with your own Kafka unless set"
    )
    training_readings: Path | None = Field(
        None, description="history the first model learns from, .csv or .parquet; empty: simulated stations"
    )
    cadence_seconds: float = Field(1.0, gt=0, description="seconds between two readings of a simulated station")
    simulator_seed: int = Field(7, ge=0, description="seed of the simulated stations")
    fault_rate: float = Field(1.0, ge=0, description="injected faults per simulated station and hour; 0 is none")

    # The API
    api_host: str = Field("127.0.0.1", description="address the API listens on; beyond loopback it needs tokens")
    api_port: Port = Field(8000, description="port of the API; 0 is any free one")
    api_tokens_file: Path | None = Field(None, description="file of hashed API tokens")
    api_tokens_in_store: bool = Field(
        False, description="take tokens from Cassandra too; `python -m api.security.token_command` makes them"
    )
    api_requests_per_minute: int = Field(
        6000, ge=0, description="requests a minute of one token, or of one address without tokens; 0 is without limit"
    )
    api_shared_seconds: float = Field(
        1.0,
        ge=0,
        le=60,
        description="how old the answer to the same question may be that another got, s; 0 makes each anew",
    )
    api_stale_seconds: float = Field(
        30.0, gt=0, description="the stream counts as stale after this many seconds without a sign, s"
    )

    # Alarms
    alertmanager_url: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="Alertmanager that alarms are told to, such as `http://127.0.0.1:9093`; empty: none",
    )
    alertmanager_config: Path | None = Field(
        None, description="configuration of the Alertmanager of `make monitor`; empty: one that tells nobody"
    )
    alertmanager_port: Port = Field(9093, description="port of `make monitor`'s Alertmanager; 0 is any free one")
    prometheus_port: Port = Field(9090, description="port of `make monitor`'s Prometheus; 0 is any free one")
    page_url: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="address of the page for links in notifications; empty: this machine at API_PORT",
    )
    alarm_fired: int = Field(
        3, ge=1, le=100, description="an alarm is worth telling once this many readings were abnormal, or a rule fired"
    )
    alarm_of: int = Field(5, ge=1, le=100, description="readings of a station among which ALARM_FIRED are looked for")
    alarm_quiet_seconds: float = Field(
        60.0, gt=0, le=86_400, description="an alarm is over after this long without an abnormal reading, s"
    )
    station_groups: Annotated[dict[str, str | tuple[str, ...]], NoDecode] = Field(
        {},
        description="which stations stand together: JSON of group name → list of three or more ids, or a pattern "
        "like `station-00*`; or the path of a file that holds it",
    )
    alarms_metrics_port: Port = Field(9110, description="Prometheus port of the alarms process; 0 is any free one")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="least severe line that is logged"
    )

    @field_validator("sensors", "station_groups", mode="before")
    @classmethod
    def _read_json(cls, value: object) -> object:
        """Accept JSON, or the path of a file that holds it."""
        if not isinstance(value, str):
            return value
        import json

        text = value if value.lstrip()[:1] in "[{" else Path(value).expanduser().read_text(encoding="utf-8")
        return json.loads(text)

    @field_validator("station_groups")
    @classmethod
    def _check_groups(cls, value: dict[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
        StationGroups(value)
        return value

    @field_validator("sensors")
    @classmethod
    def _check_sensors(cls, value: tuple[Sensor, ...]) -> tuple[Sensor, ...]:
        return check_catalogue(value)

    @field_validator("readings_kept")
    @classmethod
    def _check_readings_kept(cls, value: str) -> str:
        if value in ("all", "none"):
            return value
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not 0 < share < 1:
            raise ValueError("expected all, none, or a share between 0 and 1")
        return value

    @field_validator(
        "kafka_password_file", "kafka_ca_file", "cassandra_password_file", "cassandra_ca_file", "mlflow_password_file"
    )
    @classmethod
    def _check_file(cls, value: Path | None) -> Path | None:
        """Read it at start, so that a missing secret stops the program before it does anything."""
        if value is not None:
            _content(value)
        return value

    @model_validator(mode="after")
    def _check_logins(self) -> Self:
        sasl, tls = self.kafka_security_protocol.startswith("SASL"), self.kafka_security_protocol.endswith("SSL")
        wrong = []
        for server in ("kafka", "cassandra", "mlflow"):
            user, file = getattr(self, f"{server}_user"), getattr(self, f"{server}_password_file")
            if bool(user) != (file is not None):
                given, missing = ("USER", "PASSWORD_FILE") if user else ("PASSWORD_FILE", "USER")
                wrong.append(f"{server.upper()}_{given} is set and {server.upper()}_{missing} is not; expected both")
        if sasl != bool(self.kafka_user):
            expected = "expected KAFKA_USER and KAFKA_PASSWORD_FILE" if sasl else "expected a SASL one with KAFKA_USER"
            wrong.append(f"KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol}: {expected}")
        if self.kafka_ca_file and not tls:
            wrong.append(f"KAFKA_CA_FILE is set, but KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} has no TLS")
        if self.cassandra_ca_file and not self.cassandra_tls:
            wrong.append("CASSANDRA_CA_FILE is set and CASSANDRA_TLS is not; expected CASSANDRA_TLS=true")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @model_validator(mode="after")
    def _check_alarm_counts(self) -> Self:
        if self.alarm_fired > self.alarm_of:
            raise ValueError(f"ALARM_FIRED={self.alarm_fired} is more than ALARM_OF={self.alarm_of}; expected at most")
        return self

    @model_validator(mode="after")
    def _refuse_open_bind(self) -> Self:
        if self.api_host not in LOOPBACK and self.api_tokens_file is None and not self.api_tokens_in_store:
            raise ValueError(
                f"API_HOST={self.api_host} is reachable from outside; set {PREFIX}API_TOKENS_FILE or "
                f"{PREFIX}API_TOKENS_IN_STORE=true, or bind to 127.0.0.1"
            )
        return self

    @property
    def readings_share(self) -> float:
        """Share of stations whose readings are kept, in [0, 1]."""
        words = {"all": 1.0, "none": 0.0}
        return words[self.readings_kept] if self.readings_kept in words else float(self.readings_kept)

    @property
    def bootstrap_servers(self) -> str:
        """Kafka brokers as the clients want them."""
        return self.kafka_bootstrap or f"127.0.0.1:{self.kafka_port}"

    def kafka_client_options(self) -> dict[str, Any]:
        """Where the brokers are and how to log in, as kafka-python's clients take it. Holds the password."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers.split(","),
            "security_protocol": self.kafka_security_protocol,
        }
        if self.kafka_ca_file:
            options["ssl_cafile"] = str(self.kafka_ca_file)
        if self.kafka_user:
            options |= {
                "sasl_mechanism": self.kafka_sasl_mechanism,
                "sasl_plain_username": self.kafka_user,
                "sasl_plain_password": password_in(self.kafka_password_file),
            }
        return options

    def kafka_source_options(self) -> dict[str, str]:
        """The same as Spark's Kafka source takes it. Holds the password: for a query's options, no command line."""
        options = {
            "kafka.bootstrap.servers": self.bootstrap_servers,
            "kafka.security.protocol": self.kafka_security_protocol,
        }
        if self.kafka_ca_file:
            # The text, not the path: executors on other machines need no file.
            options |= {
                "kafka.ssl.truststore.type": "PEM",
                "kafka.ssl.truststore.certificates": _content(self.kafka_ca_file),
            }
        if self.kafka_user:
            module = _MECHANISMS[self.kafka_sasl_mechanism]
            user, password = (_quoted(text) for text in (self.kafka_user, password_in(self.kafka_password_file)))
            options |= {
                "kafka.sasl.mechanism": self.kafka_sasl_mechanism,
                "kafka.sasl.jaas.config": f"{module} required username={user} password={password};",
            }
        return options

    def cassandra_login(self) -> dict[str, Any]:
        """How to log in to Cassandra: username, password, tls, ca (PEM text), each empty where it is not wanted."""
        return {
            "username": self.cassandra_user,
            "password": password_in(self.cassandra_password_file),
            "tls": self.cassandra_tls,
            "ca": _content(self.cassandra_ca_file) if self.cassandra_ca_file else "",
        }

    def mlflow_login(self) -> tuple[str, str] | None:
        """User and password of the MLflow server, None where it asks for none."""
        return (self.mlflow_user, password_in(self.mlflow_password_file)) if self.mlflow_user else None

    @property
    def contact_points(self) -> list[str]:
        """Cassandra contact points, without port."""
        return [host.strip() for host in (self.cassandra_hosts or "127.0.0.1").split(",")]

    @property
    def page_address(self) -> str:
        """Address of the page, without a slash at its end."""
        return (self.page_url or f"http://127.0.0.1:{self.api_port}").rstrip("/")

    @property
    def checkpoint_uri(self) -> str:
        """Checkpoint folder or URI."""
        return self.checkpoint or str((self.home / "checkpoint").resolve())

    @property
    def tracking_uri(self) -> str:
        """MLflow tracking URI."""
        return self.mlflow_tracking_uri or f"sqlite:///{(self.home / 'mlflow' / 'mlflow.db').resolve()}"


def password_in(file: Path | None) -> str:
    """Return what a file holds, without white space around it; nothing without a file.

    Raises:
        ValueError: it is not there, cannot be read, or is empty.
    """
    return _content(file).strip() if file else ""


def _content(file: Path) -> str:
    try:
        text = file.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no text"
        raise ValueError(f"{file} cannot be read: {reason}") from None
    if not text.strip():
        raise ValueError(f"{file} is empty")
    return text


def _quoted(text: str) -> str:
    """Quote for a JAAS line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def load_settings(**given: object) -> Settings:
    """Read the environment.

    Args:
        given: settings that a command line names, which win; as text or as they are.

    Raises:
        SettingsError: one message that names every bad variable, its value and what is expected.
    """
    unknown = _unknown_variables()
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(_listed([*unknown, *map(_describe, error.errors(include_url=False))])) from error
    except (OSError, ValueError) as error:
        raise SettingsError(_listed([*unknown, str(error)])) from error
    if unknown:
        raise SettingsError(_listed(unknown))
    return settings


def _unknown_variables() -> list[str]:
    """Find names that look like ours and are not: a typo would otherwise be a default in disguise."""
    given = (name.upper() for name in {*os.environ, *dotenv_values(".env")})
    mine = sorted({name.removeprefix(PREFIX).lower() for name in given if name.startswith(PREFIX)})
    return [_with_nearest(name) for name in mine if name not in Settings.model_fields]


def _with_nearest(name: str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, n=1)
    advice = f"is {PREFIX}{near[0].upper()} meant?" if near else "`make settings-table` lists them all"
    return f"{PREFIX}{name.upper()}: no such setting; {advice}"


def _describe(problem: ErrorDetails) -> str:
    if not problem["loc"]:
        return problem["msg"]
    return f"{PREFIX}{str(problem['loc'][0]).upper()} = {problem['input']!r}: {problem['msg']}"


def _listed(problems: list[str]) -> str:
    return "\n".join([f"settings: {len(problems)} problem(s)", *(f"  {problem}" for problem in problems)])
