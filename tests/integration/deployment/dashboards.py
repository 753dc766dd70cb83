"""What a dashboard's file asks: its panels, their queries, and whether an answer is empty."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.paths import ROOT

FOLDER = ROOT / "grafana" / "dashboards"
Json = dict[str, Any]


class Query(NamedTuple):
    """One target of one panel."""

    dashboard: str
    panel: str
    target: Json

    def __str__(self) -> str:
        """As a failing test names it."""
        return f"{self.dashboard}: {self.panel}: {self.target.get('expr') or self.target.get('url')}"


def dashboards() -> dict[str, Json]:
    """File name → dashboard."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def queries(kind: str) -> Iterator[Query]:
    """Yield the targets of all panels that go to this kind of datasource, and of all variables."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                if target["datasource"]["type"] == kind:
                    yield Query(name, panel["title"], target)
        for variable in dashboard["templating"]["list"]:
            if variable["datasource"]["type"] == kind:
                yield Query(name, f"variable {variable['name']}", variable["query"]["infinityQuery"])


def has_value(result: list[Json]) -> bool:
    """Whether Prometheus answered with at least one number."""
    samples = [value for series in result for value in series.get("values", [series.get("value")])]
    return any(not math.isnan(float(value)) for _, value in samples)


def selected(document: Json, target: Json) -> list[dict[str, object]]:
    """The rows that Infinity's backend parser would show; a path that leads nowhere gives None."""
    rows = document[target["root_selector"]]
    return [{column["text"]: _at(row, column["selector"]) for column in target["columns"]} for row in rows]


def _at(row: object, path: str) -> object:
    for name in path.split("."):
        row = row.get(name) if isinstance(row, dict) else None
    return row
