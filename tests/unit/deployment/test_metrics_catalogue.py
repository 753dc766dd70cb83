"""docs/metrics.md names every metric of the code and of the JMX rules, with type and labels, and no other."""

from __future__ import annotations

import ast
import re

import yaml

from tests.integration.deployment.dashboards import queries
from tests.paths import ROOT

ROOMS = ("api", "alarms", "iot_simulator", "models", "spark_jobs", "storage")
TYPES = {
    "Counter": "counter",
    "CounterMetricFamily": "counter",
    "Gauge": "gauge",
    "GaugeMetricFamily": "gauge",
    "Histogram": "histogram",
    "HistogramMetricFamily": "histogram",
}
ROW = re.compile(r"^\| `(?P<name>[a-z_]+)(\{(?P<labels>[a-z_,]+)\})?` \| (?P<type>\w+) \| [^|]+ \| [^|]+ \|$")
Described = dict[str, tuple[str, frozenset[str]]]


def in_code() -> Described:
    found: Described = {}
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            described = _metric(call)
            if described:
                found |= described
    return found


def _metric(call: ast.Call) -> Described | None:
    kind = TYPES.get(call.func.id if isinstance(call.func, ast.Name) else "")
    name = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    if kind is None or not isinstance(name, str):
        return None
    labels = (
        call.args[2]
        if len(call.args) > 2
        else next((k.value for k in call.keywords if k.arg in ("labels", "labelnames")), None)
    )
    names = [one.value for one in labels.elts if isinstance(one, ast.Constant)] if isinstance(labels, ast.List) else []
    return {name + ("_total" if kind == "counter" else ""): (kind, frozenset(map(str, names)))}


def in_jmx_rules() -> Described:
    rules = [
        rule for path in (ROOT / "prometheus/jmx").glob("*.yml") for rule in yaml.safe_load(path.read_text())["rules"]
    ]
    return {rule["name"]: (rule["type"].lower(), frozenset(rule.get("labels", {}))) for rule in rules}


def in_catalogue() -> Described:
    lines = [
        line
        for line in (ROOT / "docs/metrics.md").read_text().splitlines()
        if line.startswith("| `iot_") or ROW.match(line)
    ]
    matches = [ROW.match(line) for line in lines]
    assert all(matches), [line for line, match in zip(lines, matches, strict=True) if not match]
    return {m["name"]: (m["type"], frozenset((m["labels"] or "").split(",")) - {""}) for m in matches if m}


def test_the_catalogue_and_the_code_name_the_same_metrics() -> None:
    """Breaks when a metric is added, renamed, relabelled or dropped without a word in docs/metrics.md."""
    code = in_code() | in_jmx_rules()
    assert len(code) > 60, "the search itself works"
    assert in_catalogue() == code


def test_no_metric_has_a_station_as_a_label() -> None:
    """Breaks when the number of series would grow with the plant."""
    for name, (_, labels) in (in_code() | in_jmx_rules()).items():
        assert not labels & {"station", "station_id", "client", "user", "path"}, name


def test_the_names_of_the_contract_are_there() -> None:
    """Breaks when a name that dashboards and users rely on goes away."""
    promised = """iot_readings_consumed_total iot_readings_rejected_total iot_readings_duplicate_total
        iot_readings_late_total iot_readings_scored_total iot_anomalies_total iot_batch_duration_seconds
        iot_event_to_stored_seconds iot_kafka_lag_records iot_last_batch_timestamp_seconds iot_model_info
        iot_model_swap_failures_total iot_drift_score iot_stations_silent http_request_duration_seconds
        iot_build_info"""
    assert set(promised.split()) <= set(in_code())


def test_dashboards_and_rules_ask_for_metrics_that_exist() -> None:
    """Breaks when a panel, a recording rule or an alert names a metric that nobody serves."""
    groups = [
        rule
        for path in (ROOT / "prometheus/rules").glob("*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    recorded = {rule["record"] for rule in groups if "record" in rule}
    served = {name + part for name in in_catalogue() for part in ("", "_bucket", "_sum", "_count")}
    asked = [query.target["expr"] for query in queries("prometheus")] + [rule["expr"] for rule in groups]
    assert len(asked) > 80
    for expr in asked:
        bare = re.sub(r'"[^"]*"', "", expr)
        for name in re.findall(r"\b(?:iot|http|kafka|cassandra|spark)[_:][a-z0-9_:]+", bare):
            assert name in served | recorded, (name, expr)
