"""A keyspace, an application with a stopped clock on it, and rows to put there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from apiflask import APIFlask
from flask.testing import FlaskClient

from api.app import create_app
from api.http.limits import check_time
from api.http.store_connection import GuardedStore
from core.errors import StationwatchError
from core.settings import Settings
from storage.driver.session import Store, StoreConfig, connect, declared_reads
from storage.tables.anomalies import AnomalyRow

NOW_MS = time.time_ns() // 1_000_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SENSORS = ("temperature", "humidity", "noise")


@contextmanager
def application(settings: Settings, now_ms: Callable[[], int] = lambda: NOW_MS) -> Iterator[APIFlask]:
    """The application on the real store, its clock stopped; more patient than the API itself."""
    store, prepared_ahead = connect(StoreConfig.from_settings(settings)), set(declared_reads())
    try:
        yield create_app(settings, Given(GuardedStore(store, check_time)), now_ms)
        late = {cql for cql in store._prepared if cql.lstrip().startswith("SELECT")} - prepared_ahead
        assert not late, "a route asks something that no warm-up would have prepared"
    finally:
        store.close()


class Given:
    """A store that is there."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self) -> Store:
        return self._store

    def mark_suspect(self, error: StationwatchError) -> None:
        raise error


def anomaly_row(station: str, event_ms: int, seq: int = 0, severity: float = 82.5, **changes: Any) -> AnomalyRow:
    """An anomaly in which one sensor stands out: noise, unless `leading` names another."""
    leading = changes.pop("leading", "noise")
    sensors = [
        {
            "name": name, "unit": "1", "actual": 41.25, "typical": 25.0, "lower": None, "upper": 31.0,
            "direction": "above", "contribution": 0.8 if name == leading else 0.1,
        }
        for name in SENSORS
    ]  # fmt: skip
    witnesses = [{"name": "iforest", "score": 0.7, "threshold": 0.6, "fired": True}]
    verdict = {"sensors": sensors, "witnesses": witnesses, "rules": [], "explanation": "Noise is 41 <b>dB</b>."}
    row = AnomalyRow(
        station, event_ms, seq, {"noise": 41.25}, 1.9, severity, 1, json.dumps(verdict), 10, b"", 7, 0, seq,
        event_ms, NOW_MS, NOW_MS,
    )  # fmt: skip
    return row._replace(**changes)


def walked(
    api: FlaskClient, path: str, member: str, between: Callable[[int], None] | None = None
) -> list[dict[str, Any]]:
    """Every entry of a list, page by page; `between` is called with the number of pages read."""
    entries: list[dict[str, Any]] = []
    token, pages = None, 0
    while True:
        answer = answered(api, path + (f"{'&' if '?' in path else '?'}page_token={token}" if token else ""))
        assert answer.status_code == 200, answer.get_data(as_text=True)
        entries += answer.get_json()[member]
        pages += 1
        token = answer.get_json().get("next_page_token")
        if token is None:
            return entries
        assert pages < 3000, "a walk that never ends"
        if between is not None:
            between(pages)


def answered(api: FlaskClient, path: str, **options: Any) -> Any:
    """The answer to a GET, asked again while a busy machine lets Cassandra miss its deadline, as clients do."""
    deadline = time.monotonic() + 60
    while True:
        answer = api.get(path, **options)
        if answer.status_code != 503 or time.monotonic() > deadline:
            return answer
        time.sleep(0.5)


class Traced:
    """Which partitions a store was asked for: every execution of every prepared statement, with its key."""

    def __init__(self, store: Store) -> None:
        self._session = store.session
        self._executed: list[Any] = []

    def __enter__(self) -> Traced:
        self._original = self._session.execute_async

        def execute_async(query: Any, parameters: Any = None, *rest: Any, **options: Any) -> Any:
            bound = query.bind(parameters) if hasattr(query, "bind") and parameters is not None else query
            self._executed.append(bound)
            return self._original(query, parameters, *rest, **options)

        self._session.execute_async = execute_async
        return self

    def __exit__(self, *_: object) -> None:
        del self._session.execute_async

    @property
    def partitions(self) -> set[tuple[str, bytes]]:
        """Statement and partition key of everything that was asked."""
        return {(self._text(statement), statement.routing_key) for statement in self._executed}

    def unbounded(self) -> list[str]:
        """Statements without a whole partition key, which is a scan."""
        texts = [(self._text(statement), statement.routing_key) for statement in self._executed]
        return [text for text, key in texts if key is None or "ALLOW FILTERING" in text.upper()]

    @staticmethod
    def _text(statement: Any) -> str:
        prepared = getattr(statement, "prepared_statement", None)
        return str(prepared.query_string if prepared is not None else statement)
