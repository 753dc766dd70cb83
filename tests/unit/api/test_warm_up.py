"""What the API prepares before anybody asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from api.app import warm_up
from core.errors import StationwatchError
from core.settings import Settings
from storage.driver.session import StoreConfig
from tests.unit.api.api_client import client

STATION = "/stations/station-0001"
ANOMALY = "c3RhdGlvbi0wMDAxLjE3OTUyMTkyMDAwMDAuMQ"


class EmptyStore:
    """Tables without rows; it writes down which statements it is asked."""

    def __init__(self) -> None:
        self.config = StoreConfig()
        self.asked: set[str] = set()

    def get(self) -> EmptyStore:
        return self

    def mark_suspect(self, error: StationwatchError) -> None:
        raise error

    def prepared(self, cql: str) -> None:
        self.asked.add(cql)

    def rows(self, cql: str, values: Sequence[object] = (), page_rows: int = 0) -> Iterator[tuple[Any, ...]]:
        self.asked.add(cql)
        yield from ()

    def one(self, cql: str, values: Sequence[object] = ()) -> tuple[Any, ...] | None:
        self.asked.add(cql)
        return ("secret",) if "api_secrets" in cql else None

    def rows_of_all(self, cql: str, many: Any) -> list[list[tuple[Any, ...]]]:
        self.asked.add(cql)
        return [[] for _ in many]


def test_every_read_of_a_route_is_prepared_before_somebody_asks() -> None:
    """Breaks when a table file hides a SELECT from the warm-up, so that a person waits while it is prepared."""
    ahead, asked = EmptyStore(), EmptyStore()
    warm_up(ahead, Settings(_env_file=None))  # type: ignore[arg-type]
    api = client(asked)
    rules = [rule for rule in api.application.url_map.iter_rules() if "GET" in (rule.methods or ())]
    for rule in rules:
        path = rule.rule.replace("<station_id>", "station-0001").replace("<path:filename>", "base.css")
        for anomaly in ("<anomaly_id>", "<opaque:alarm_id>"):
            path = path.replace(anomaly, ANOMALY)
        if "stream" not in path:
            with api.get(path.replace("<job_id>", "1"), query_string=_needed(rule.rule)) as answer:
                assert answer.status_code in (200, 303, 404, 503), path
    reads = {cql for cql in asked.asked if cql.lstrip().startswith("SELECT")}
    assert len(reads) > 15
    assert reads <= ahead.asked


def _needed(rule: str) -> dict[str, Any]:
    if rule == "/api/outliers_count":
        return {"time_range": "1h"}
    return {"end": 1000} if rule == "/pages/stations/<station_id>" else {}
