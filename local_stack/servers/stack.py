"""The pair of servers as one thing: up, down, and single servers for fault tests."""

from __future__ import annotations

import fcntl
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from core.settings import PREFIX, Settings
from local_stack.errors import StackError
from local_stack.servers.cassandra_server import CassandraServer, cassandra_answers
from local_stack.servers.kafka_server import KafkaServer
from local_stack.servers.ports import HOST
from local_stack.servers.processes import STOP_SECONDS, signals_deferred
from local_stack.servers.server import LocalServer
from local_stack.servers.topics import broker_answers, create_topics

_CUT_SHORT_SECONDS = 8.0


@dataclass(frozen=True)
class Endpoints:
    """Where the servers are.

    Args:
        kafka: brokers, host:port,host:port.
        cassandra_hosts: contact points, host,host.
        cassandra_port: CQL port of all of them.
    """

    kafka: str
    cassandra_hosts: str
    cassandra_port: int


def endpoints_env(endpoints: Endpoints) -> dict[str, str]:
    """Return the environment variables that point a child process at these servers."""
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in _as_settings(endpoints).items()}


def endpoints_settings(settings: Settings, endpoints: Endpoints) -> Settings:
    """Return `settings` pointed at these servers."""
    return settings.model_copy(update=_as_settings(endpoints))


class Stack:
    """Kafka and Cassandra on this machine, in `settings.home / "stack"`.

    A server that the settings name elsewhere (`kafka_bootstrap`, `cassandra_hosts`) is the user's own: it is neither
    started nor stopped here.

    Args:
        settings: ports, folders, heap.
        java_options: further Java options by kind of server, such as `{"kafka": ["-javaagent:..."]}`.
        say: takes one line of progress at a time.
        certificate: PEM file with key and certificate of all servers, where the settings ask for TLS.
        brokers: Kafka brokers; with three, each reading is on three and acknowledged by two. Called `kafka`,
            `kafka-2`, `kafka-3`.
    """

    def __init__(
        self,
        settings: Settings,
        java_options: Mapping[str, Sequence[str]] | None = None,
        say: Callable[[str], None] = lambda line: None,
        certificate: Path | None = None,
        brokers: int = 1,
    ) -> None:
        self._settings = settings
        self._say = say
        self.folder = (settings.home / "stack").resolve()
        extra = java_options or {}
        self.servers: dict[str, LocalServer] = {}
        # Cassandra first: it takes longest to start.
        if not settings.cassandra_hosts:
            self.servers["cassandra"] = CassandraServer(settings, extra.get("cassandra", ()), certificate)
        if not settings.kafka_bootstrap:
            cluster: list[KafkaServer] = []
            for _ in range(brokers):
                KafkaServer(settings, extra.get("kafka", ()), certificate, cluster)
            self.servers |= {broker.name: broker for broker in cluster}

    def up(self) -> Endpoints:
        """Start what does not run yet, wait until both answer, create the topics.

        Cut short or failed, it stops again what it started.

        Raises:
            StackError: no Java 17, a taken port, refused jars, a server that died; with what to do.
            BrokerUnavailable: Kafka went away before the topics were made.
        """
        with self._alone():
            self._start(list(self.servers.values()), same_port=False)
            endpoints = self.endpoints()
            (self.folder / "endpoints.json").write_text(json.dumps(asdict(endpoints), indent=1), encoding="utf-8")
        for difference in create_topics(endpoints_settings(self._settings, endpoints)):
            self._say(difference)
        return endpoints

    def down(self, seconds: float = STOP_SECONDS) -> None:
        """Stop both servers; after `seconds` by SIGKILL."""
        with self._alone():
            self._stop(list(self.servers.values()), seconds)

    def reset(self) -> None:
        """Stop both servers and delete their data, logs and configuration."""
        with self._alone():
            self._stop(list(self.servers.values()))
            for server in self.servers.values():
                server.erase()
            (self.folder / "endpoints.json").unlink(missing_ok=True)

    def endpoints(self) -> Endpoints:
        """Return where the servers are: the user's own, or the ports of the last start."""
        settings = self._settings
        brokers = (server for server in self.servers.values() if server.kind == "kafka")
        kafka = settings.kafka_bootstrap or ",".join(f"{HOST}:{broker.port}" for broker in brokers)
        port = settings.cassandra_port if settings.cassandra_hosts else self.servers["cassandra"].port
        return Endpoints(kafka, settings.cassandra_hosts or HOST, port)

    def status(self) -> list[tuple[str, bool]]:
        """Return a line for each server, and whether it answers."""
        settings = self._settings
        lines = [server.status() for server in self.servers.values()]
        if settings.kafka_bootstrap:
            well = broker_answers(settings.kafka_client_options(), 5.0)
            lines.append((f"kafka: your own at {settings.kafka_bootstrap}, {_manner(well)}", well))
        if settings.cassandra_hosts:
            well = cassandra_answers(settings)
            lines.append((f"cassandra: your own at {settings.cassandra_hosts}, {_manner(well)}", well))
        return lines

    def pid(self, name: str) -> int | None:
        """Return the pid of a running server, None when it does not run."""
        process = self._server(name).process.find()
        return process.pid if process else None

    def kill(self, name: str) -> None:
        """Kill a server (SIGKILL) and wait until it is gone."""
        self._server(name).process.kill()

    def pause(self, name: str) -> None:
        """Stop a server from running (SIGSTOP); its connections stay open and unanswered."""
        self._server(name).process.signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a paused server run on (SIGCONT)."""
        self._server(name).process.signal(signal.SIGCONT)

    def start(self, name: str) -> None:
        """Start a server again on the port and data of its last start, and wait until it answers.

        Raises:
            StackError: its port was taken meanwhile, or it died.
        """
        with self._alone():
            self._start([self._server(name)], same_port=True)

    def _server(self, name: str) -> LocalServer:
        if name not in self.servers:
            raise StackError(f"no local server {name!r} here; there is {', '.join(self.servers) or 'none'}")
        return self.servers[name]

    def _start(self, servers: list[LocalServer], same_port: bool) -> None:
        started = [server for server in servers if server.process.find() is None]
        since = time.monotonic()
        try:
            for server in started:
                found = " again; it was not stopped by `down`" if server.process.was_started() else ""
                self._say(f"{server.name}: starting{found}")
                server.prepare(same_port)
            for server in started:
                server.launch()
            for server in servers:
                server.wait_ready()
                taken = f" after {time.monotonic() - since:.1f} s" if server in started else ", as before"
                self._say(f"{server.name}: answers on {HOST}:{server.port}{taken}")
                if not same_port and server.wanted_port not in (0, server.port):
                    self._say(f"{server.variable}={server.wanted_port} takes effect after `down` and `up`")
        except BaseException:
            with signals_deferred():
                self._stop(started, _CUT_SHORT_SECONDS)
            raise

    def _stop(self, servers: list[LocalServer], seconds: float = STOP_SECONDS) -> None:
        for server in servers:
            server.process.ask_to_stop()
        for server in servers:
            if not server.process.wait_gone(seconds):
                self._say(f"{server.name}: did not stop within {seconds:.0f} s and was killed")
            server.process.forget()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with Path(self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _manner(well: bool) -> str:
    return "answers" if well else "does not answer"


def _as_settings(endpoints: Endpoints) -> dict[str, str | int]:
    return {
        "kafka_bootstrap": endpoints.kafka,
        "cassandra_hosts": endpoints.cassandra_hosts,
        "cassandra_port": endpoints.cassandra_port,
    }
