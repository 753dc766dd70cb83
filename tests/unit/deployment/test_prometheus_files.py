"""Prometheus' and Alertmanager's own tools take what `prometheus/` holds, and each alert is tested both ways."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.paths import ROOT

FOLDER = ROOT / "prometheus"


def tool(*command: str, cwd: Path = ROOT) -> str:
    """Run promtool or amtool; skip where it is not installed, unless this is CI."""
    if shutil.which(command[0]) is None:
        sentence = f"{command[0]} is missing: apt-get install prometheus prometheus-alertmanager"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> list[dict[str, Any]]:
    groups = [
        group for path in (FOLDER / "rules").glob("*.yml") for group in yaml.safe_load(path.read_text())["groups"]
    ]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_configuration_and_rules_are_valid() -> None:
    """Breaks when Prometheus would refuse to start."""
    tool("promtool", "check", "config", "--syntax-only", "prometheus/prometheus.yml")
    tool("promtool", "check", "rules", *map(str, sorted((FOLDER / "rules").glob("*.yml"))))


def test_alerts_fire_when_they_should_and_only_then() -> None:
    """Breaks when an alert misses its fault or cries without one."""
    tool("promtool", "test", "rules", *map(str, sorted((FOLDER / "tests").glob("*.yml"))))


def test_a_rule_that_is_broken_is_noticed(tmp_path: Path) -> None:
    """Breaks when the cases of the test above would pass whatever the rules say."""
    for name in ("rules", "tests"):
        shutil.copytree(FOLDER / name, tmp_path / name)
    rules = tmp_path / "rules" / "alerts.yml"
    rules.write_text(re.sub(r"expr: up == 0", "expr: up == 5", rules.read_text()))
    (tmp_path / "tests" / "fallback.yml").unlink()
    with pytest.raises(AssertionError, match="TargetDown"):
        tool("promtool", "test", "rules", "tests/alerts.yml", cwd=tmp_path)


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_each_alert_says_what_to_do_and_is_tested_both_ways(alert: dict[str, Any]) -> None:
    """Breaks when an alert has no severity, no summary, no page in the runbook, or no case of its own."""
    name = alert["alert"]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    assert f"\n### {name}\n" in (ROOT / "docs/runbook.md").read_text()
    cases = [case for path in (FOLDER / "tests").glob("*.yml") for case in yaml.safe_load(path.read_text())["tests"]]
    named = {case["name"]: case["promql_expr_test"][0]["exp_samples"] for case in cases}
    assert named[f"{name} fires"]
    assert named[f"{name} does not fire"] == []


def test_receivers_are_valid_and_hold_no_secret() -> None:
    """Breaks when Alertmanager would refuse its file, a receiver is gone, or somebody writes a secret into it."""
    tool("amtool", "check-config", *map(str, (FOLDER / "alertmanager").glob("*.yml")))
    config = yaml.safe_load((FOLDER / "alertmanager/alertmanager.yml").read_text())
    kinds = {kind for receiver in config["receivers"] for kind in receiver if kind != "name"}
    assert kinds == {"slack_configs", "email_configs", "pagerduty_configs", "webhook_configs"}
    text = (FOLDER / "alertmanager/alertmanager.yml").read_text()
    assert not re.search(r"(password|api_url|routing_key|service_key|token):", text), "secrets come from files"


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (["alertname=StreamStalled", "severity=critical"], "pagerduty,chat,webhook"),
        (["alertname=DeadLetterRatio", "severity=warning"], "chat,webhook"),
        (["alertname=StationAnomaly", "severity=major", "station=station-0001"], "mail,webhook"),
        (["alertname=StationAnomaly", "severity=low", "station=station-0001"], "webhook"),
    ],
)
def test_alerts_reach_the_right_people(labels: list[str], receivers: str) -> None:
    """Breaks when a route swallows what another should get."""
    config = "--config.file=prometheus/alertmanager/alertmanager.yml"
    assert tool("amtool", "config", "routes", "test", config, *labels).strip() == receivers
