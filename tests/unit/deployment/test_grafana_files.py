"""Dashboards and provisioning are files Grafana takes: ids, places, datasources, nothing secret."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import jsonschema
import pytest
import yaml

from tests.integration.deployment.dashboards import dashboards
from tests.paths import DATA, ROOT

GRAFANA = ROOT / "grafana"
SCHEMA = json.loads((DATA / "grafana-dashboard.schema.json").read_text())
UIDS = {"prometheus": "prometheus", "stationwatch-api": "yesoreyeram-infinity-datasource"}


@pytest.mark.parametrize("name", dashboards())
def test_a_dashboard_is_whole(name: str) -> None:
    """Breaks when Grafana would show a panel twice, over another, or without a datasource."""
    dashboard = dashboards()[name]
    jsonschema.Draft202012Validator(SCHEMA).validate(dashboard)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for one, other in combinations([panel["gridPos"] for panel in dashboard["panels"]], 2):
        assert not _overlap(one, other), (one, other)
    for panel in dashboard["panels"]:
        for source in [panel["datasource"], *(target["datasource"] for target in panel["targets"])]:
            assert UIDS[source["uid"]] == source["type"]


def test_the_four_dashboards_have_their_own_ids() -> None:
    """Breaks when one replaces another."""
    found = dashboards()
    assert set(found) == {"factory-now", "station", "model", "pipeline"}
    assert len({dashboard["uid"] for dashboard in found.values()}) == len(found)


def test_the_schema_notices_harm() -> None:
    """Breaks when the check of the first test would take anything."""
    for harm in ({"panels": []}, {"uid": ""}, {"schemaVersion": "39"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(SCHEMA).validate(dashboards()["model"] | harm)


def test_provisioned_datasources_are_those_of_the_panels_and_hold_no_secret() -> None:
    """Breaks when a panel's datasource is not provisioned, or a token stands in a file."""
    text = (GRAFANA / "provisioning/datasources/stationwatch.yml").read_text()
    sources = yaml.safe_load(text)["datasources"]
    assert {source["uid"]: source["type"] for source in sources} == UIDS
    assert sources[1]["secureJsonData"] == {"bearerToken": "$__file{/run/secrets/grafana_api_token}"}
    for path in GRAFANA.rglob("*.*"):
        assert not re.search(r"admin_password|password:|apiKey", path.read_text()), path
    assert not list(GRAFANA.rglob("*.py"))


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    apart = (
        one["x"] + one["w"] <= other["x"]
        or other["x"] + other["w"] <= one["x"]
        or one["y"] + one["h"] <= other["y"]
        or other["y"] + other["h"] <= one["y"]
    )
    return not apart
