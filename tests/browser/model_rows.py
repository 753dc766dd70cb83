"""A model's life as the retrainer writes it, for the page: three versions, gates, decisions, a drift check."""

from __future__ import annotations

import json

from models.drift.report import DriftSummary as Summary
from models.retraining.gates import Gate, GateReport, Limits
from storage.driver.session import Store
from storage.tables import stream_progress
from storage.tables.drift_reports import DriftSummary, put_report
from storage.tables.model_events import GATED, PROMOTED, ModelCard, ModelEvent, put_aliases, put_card, put_event
from storage.tables.shadow_samples import ShadowRow, write_shadow

HOUR_MS = 3_600_000
PASSED = GateReport(
    (
        Gate("features", True, "knows temperature, humidity, noise", {"sensors": 3.0}),
        Gate("sanity", True, "0.010% of the normal readings are flagged, 98% of gross ones", {"gross_found": 0.98}),
        Gate("false_alarms", True, "2 false alarm episodes in 11.20 station-days, the champion 3", {"episodes": 2.0}),
        Gate("recall", True, "finds no kind of injected fault less often", {"spike": 0.97, "champion_spike": 0.96}),
        Gate("cost", True, "12.1 us a reading, the champion 12.3 us", {"ratio": 0.98}),
    ),
    Limits(),
    120_000,
    12,
)  # fmt: skip
REFUSED = GateReport(
    (*PASSED.gates[:3], Gate("recall", False, "finds fewer: drift 0.41 (champion 0.62)", {"drift": 0.41})),
    Limits(),
    120_000,
    12,
)


def write_demo_model(store: Store, name: str, topic: str, now_ms: int) -> None:
    """Version 2 is champion and judges, 3 was refused, 4 wants to judge; the last check found drift."""
    stream_progress.activate(store, topic, dict.fromkeys(range(4), 0), 2, now_ms - 2 * HOUR_MS)
    for version, report in ((1, None), (2, PASSED), (3, REFUSED), (4, PASSED)):
        card = ModelCard(
            version, now_ms - (5 - version) * HOUR_MS, f"run{version}", f"{version}" * 64, f"job-{version}",
            json.dumps({"samples_used": "91234", "trees": "1000"}), json.dumps({"forest_threshold": 0.61}),
            report.to_json().decode() if report else None, report.passed if report else None,
        )  # fmt: skip
        put_card(store, name, card)
        if report is not None:
            event = ModelEvent(
                f"{now_ms - (5 - version) * HOUR_MS:013d}-demo/1gated", now_ms - (5 - version) * HOUR_MS, GATED,
                version, f"job-{version}", report.reason, "{}", "data_scientist",
            )  # fmt: skip
            put_event(store, name, event)
    moved = "Version 2 is champion, in place of 1; asked for by data_scientist."
    at = now_ms - 2 * HOUR_MS
    event_id = f"{at:013d}-demo/2promoted"
    put_event(store, name, ModelEvent(event_id, at, PROMOTED, 2, None, moved, "{}", "data_scientist"))
    write_shadow(store, [ShadowRow(4, 2, now_ms, slot, 1, "s", slot, 0.5, 1.2, slot < 3, False) for slot in range(90)])
    put_aliases(store, name, {"champion": 2, "challenger": 4, "previous": 1}, now_ms)
    summary = Summary(
        "drift",
        "Temperature has drifted: its level is 0.62 standard deviations from the training.",
        ["level:temperature"],
        {"level:temperature": 0.62, "level:humidity": -0.05, "level:noise": 0.02, "score": 0.11},
    )
    put_report(store, name, DriftSummary(now_ms - HOUR_MS, 2, summary.to_json()), "")
