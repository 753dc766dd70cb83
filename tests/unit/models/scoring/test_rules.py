"""The table of rules: one entry is a whole rule."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.verdict import Flag
from models.scoring import rules
from models.scoring.rules import RULES, rule_bits, rules_page
from tests.paths import ROOT

ENTRY = """
SATURATED = Rule(
    name="saturated",
    bit=512,
    scope=SENSOR,
    fires=lambda blocks: (blocks.per_sensor("value") >= 99.5) & (np.array(blocks.sensors) == "humidity"),
    ratio=3.0,
    meaning="the air holds as much water as it can",
    sentence=lambda it: f"{with_unit(it.actual, it.sensor)} is saturation",
    evidence=lambda it: f"{it.name} is saturated",
    hint="process",
    action="Open the drain.",
)
RULES = (IMPLAUSIBLE, STUCK, MISSING, GAP, SATURATED)
"""
# Runs with the edited table in place of the checkout's, and everything else as it is.
LOOK = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("models.scoring.rules", sys.argv[1])
sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

import numpy as np
from api.pages.anomaly import shown
from core.sensors import DEFAULT_SENSORS
from models.explanation.verdict_document import verdict_documents
from models.training.fit import _unremarkable
from storage.tables.anomalies import AnomalyRow
from tests.unit.models.explained import calm, plant, show, version
from models.scoring.rules import rules_page

_, detector = version(plant(1, stations=3, readings=400))
blocks = show(calm(), 1, value=99.8)
verdicts = detector.judge(blocks)
(document,) = verdict_documents(detector, blocks, verdicts, DEFAULT_SENSORS)
flags = int(verdicts.flags[0])
row = AnomalyRow("s", 0, 0, {}, float(verdicts.score[0]), 50.0, flags, document.decode(), 1, None, 1, 0, 0, 0, 0, 0)
print(json.dumps({
    "flagged": bool(verdicts.is_anomaly[0]), "document": json.loads(document), "trains": bool(_unremarkable(blocks)[0]),
    "page": shown(row, DEFAULT_SENSORS, None)["rules"], "docs": rules_page(),
}))
"""


def test_a_rule_is_added_by_its_entry_alone(tmp_path: Path) -> None:
    """Breaks when a rule needs another file: verdict, sentence, cause, action, training, page, API or documents."""
    table = ROOT / "models" / "scoring" / "rules.py"
    edited = tmp_path / "rules.py"
    original = table.read_text(encoding="utf-8")
    place = "\nRULES = (IMPLAUSIBLE, STUCK, MISSING, GAP)\n"
    assert original.count(place) == 1
    edited.write_text(original.replace(place, ENTRY), encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LOOK, str(edited)]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["flagged"] and not found["trains"]
    document = found["document"]
    assert document["rules"] == ["saturated"]
    assert document["explanation"].startswith("Humidity 99.8 % is saturation")
    assert document["cause"] == {"hint": "process", "evidence": "humidity is saturated"}
    assert document["action"] == {"text": "Open the drain."}
    assert found["page"] == [{"name": "Saturated", "said": "the air holds as much water as it can"}]
    assert "| `saturated` | sensor | the air holds as much water as it can | 3 | process | yes |" in found["docs"]


def test_the_page_of_rules_is_that_of_the_table() -> None:
    """Breaks when a rule was changed and `make rules-page` not run."""
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == rules_page()


@pytest.mark.parametrize("bit", [*(rule.bit for rule in RULES), *map(int, Flag), 3 * 512, 0])
def test_a_bit_that_means_something_else_is_refused(bit: int) -> None:
    """Breaks when two rules share a bit of stored flags: each would be told as both."""
    with pytest.raises(ValueError, match=f"rule stranger: bit {bit} is in use"):
        rule_bits((*RULES, rules.GAP._replace(name="stranger", bit=bit)))
