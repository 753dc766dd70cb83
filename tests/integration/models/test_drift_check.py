"""From stored samples to the drift report that the API shows, on a real Cassandra and a real registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import msgspec
import pytest
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry

from core.sensors import DEFAULT_SENSORS
from core.settings import Settings
from models.drift.report import DriftReport
from models.registry.registry import CHAMPION, Registry
from models.retraining.drift_check import DriftCheck, limits_from
from models.retraining.metrics import DriftMetrics
from models.retraining.policy import Policy
from models.retraining.policy_step import follow_policy
from models.scoring.feature_block import pack_row
from models.scoring.feature_samples import HOUR_MS, samples_of
from models.training.feedback_labels import read_labels
from models.training.sample_window import read_window
from models.training.train_steps import fit, register
from storage.driver.session import Store, StoreConfig, connect
from storage.tables import jobs
from storage.tables.anomalies import write_anomalies
from storage.tables.feature_samples import write_samples
from storage.tables.feedback import FeedbackRow, put_feedback
from storage.tables.model_events import events
from tests.integration.api_plant import anomaly_row, application
from tests.keyspaces import Keyspaces
from tests.simulated import CADENCE, DAY, START_MS, sample_rows, simulated

pytestmark = pytest.mark.timeout(300)
TRAINING = 2 * DAY
BEHIND = DAY * 3 // 4
NOW_MS = START_MS + (TRAINING + BEHIND) * CADENCE * 1000
NAMES = tuple(sensor.name for sensor in DEFAULT_SENSORS)


class Checked(NamedTuple):
    settings: Settings
    store: Store
    check: DriftCheck


@pytest.fixture(scope="module")
def checked(keyspaces: Keyspaces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checked]:
    """A champion, and 18 hours of samples behind its training: one sensor half a sigma higher in the last 13."""
    with (
        keyspaces.lent(home=tmp_path_factory.mktemp("home"), api_shared_seconds=0) as settings,
        closing(connect(StoreConfig.from_settings(settings))) as store,
    ):
        yield checked_plant(settings, store)


def checked_plant(settings: Settings, store: Store) -> Checked:
    """Train, and store what the stream would have sampled since."""
    whole = simulated(3, TRAINING + BEHIND, shift=(0, 0.5, TRAINING + BEHIND - 13 * 3600 // CADENCE))
    training = next(iter(whole.parts(TRAINING * 20)))
    fitted = fit(training, DEFAULT_SENSORS, trees=20, budget=1.0, seed=7)
    registry = Registry(settings.tracking_uri, settings.model_name)
    check = DriftCheck(store, registry, DEFAULT_SENSORS, limits_from(settings))
    assert check.check(NOW_MS) is None, "without a champion there is nothing to compare with"
    register(registry, fitted, alias=CHAMPION)
    shown = samples_of(whole, DEFAULT_SENSORS, fitted.prior, len(whole))
    write_samples(store, sample_rows(shown.between(NOW_MS - 18 * HOUR_MS, NOW_MS), 1))
    return Checked(settings, store, check)


@pytest.fixture
def api(checked: Checked) -> Iterator[FlaskClient]:
    with application(checked.settings, lambda: NOW_MS + HOUR_MS) as app:
        yield app.test_client()


def test_samples_come_back_bounded_by_time(checked: Checked) -> None:
    """Breaks when a sample outside the window is read, one inside is not, or a foreign block ends the check."""
    window = read_window(checked.store, NAMES, NOW_MS - 90 * 60_000, NOW_MS - 30 * 60_000)
    assert len(window.samples) == 20 * 3600 // CADENCE
    assert (window.samples.event_ms >= NOW_MS - 90 * 60_000).all()
    assert (window.samples.event_ms < NOW_MS - 30 * 60_000).all()
    assert (len(window.versions), window.unreadable) == (len(window.samples), 0)
    alien = next(sample_rows(window.samples, 1))._replace(slot=9999, block=b"of another release")
    write_samples(checked.store, [alien])
    again = read_window(checked.store, NAMES, NOW_MS - 90 * 60_000, NOW_MS - 30 * 60_000)
    assert (len(again.samples), again.unreadable) == (len(window.samples), 1)
    assert len(read_window(checked.store, NAMES, 0, HOUR_MS).samples) == 0


def test_drift_is_reported_and_reading_it_changes_nothing(checked: Checked, api: FlaskClient) -> None:
    """Breaks when the report is not stored as it was made, or a GET checks, trains or writes."""
    empty = api.get("/api/v1/drift").get_json()
    assert (empty["report"], empty["checks"]) == (None, [])
    assert api.get("/api/check_drift_retrain").get_json()["msg"].startswith("No drift check")
    report = checked.check.check(NOW_MS)
    assert report is not None
    assert checked.check.check(NOW_MS) == report
    assert report.answer == "drift"
    assert "level:temperature" in report.persistent

    first = api.get("/api/v1/drift")
    shown = first.get_json()
    assert shown["report"]["sentence"] == report.sentence
    assert [window["counts"]["samples"] for window in shown["report"]["windows"]] == [3600] * 3
    assert shown["checks"][0]["effects"]["level:temperature"] == pytest.approx(0.55, abs=0.2)
    assert (len(shown["checks"]), shown["report"]["model_version"]) == (1, "1")
    second = api.get("/api/v1/drift", headers={"If-None-Match": first.headers["ETag"]})
    assert second.status_code == 304
    legacy = api.get("/api/check_drift_retrain")
    assert legacy.get_json() == {"msg": report.sentence, "drift": shown}
    assert legacy.headers["Deprecation"].startswith("@")
    assert checked.store.one("SELECT count(*) FROM drift_reports WHERE name = ? AND day = ?", _day(checked)) == (1,)
    assert api.get("/api/v1/drift?time_range=30m").get_json()["checks"] == []
    assert api.get("/api/v1/drift?time_range=90d").status_code == 422


def _day(checked: Checked) -> tuple[object, ...]:
    from core.times import cql_date

    return checked.settings.model_name, cql_date(NOW_MS)


def test_effects_are_metrics_and_old_ones_go(checked: Checked) -> None:
    """Breaks when a feature is missing in the metric, or yesterday's figure stays when today says nothing."""
    registry = CollectorRegistry()
    metrics = DriftMetrics(registry)
    report = checked.check.check(NOW_MS)
    assert report is not None
    metrics.show(report)
    found = registry.get_sample_value("iot_drift_score", {"feature": "level:temperature"})
    assert found == pytest.approx(report.summary().effects["level:temperature"])
    assert registry.get_sample_value("iot_drift_persistent") == len(report.persistent)
    later = checked.check.check(NOW_MS + 400 * 24 * HOUR_MS)
    assert later is not None
    assert (later.answer, [window.counts.samples for window in later.windows]) == ("insufficient_data", [0, 0, 0])
    metrics.show(later)
    assert registry.get_sample_value("iot_drift_score", {"feature": "level:temperature"}) is None
    assert registry.get_sample_value("iot_drift_persistent") == 0


def test_what_people_said_is_counted_and_read_with_its_blocks(checked: Checked, api: FlaskClient) -> None:
    """Breaks when feedback is counted twice or under another verdict, or a label loses its anomaly."""
    nothing = api.get("/api/v1/drift").get_json()["feedback"]
    assert (nothing["precision"], nothing["low"], nothing["high"]) == (None, 0.0, 1.0)
    window = read_window(checked.store, NAMES, NOW_MS - 2 * HOUR_MS, NOW_MS - HOUR_MS).samples
    verdicts = ["false_positive"] * 6 + ["true_positive"] * 3 + ["expected"]
    rows = [
        anomaly_row(window.station_ids[at], int(window.event_ms[at]), at, block=pack_row(window.blocks, at))
        for at in range(len(verdicts) + 1)
    ]
    foreign = anomaly_row("s1", NOW_MS - 95 * 60_000, 77, block=b"of another release")
    write_anomalies(checked.store, [*rows, foreign])
    for row, verdict in [*zip(rows, verdicts, strict=False), (foreign, "true_positive")]:
        for said in ("expected", verdict):  # the last word holds
            put_feedback(checked.store, FeedbackRow(*row[:3], said, "", NOW_MS, None, 1))
    shown = api.get("/api/v1/drift").get_json()["feedback"]
    assert (shown["true_positive"], shown["false_positive"], shown["expected"]) == (4, 6, 1)
    assert shown["precision"] == pytest.approx(0.4)
    assert 0.1 < shown["low"] < 0.4 < shown["high"] < 0.75
    labels = read_labels(checked.store, NAMES, NOW_MS)
    assert sorted(labels.verdicts) == sorted(verdicts)
    place = {(row.station_id, row.event_ms): at for at, row in enumerate(rows)}
    for at in range(len(labels)):
        known = place[labels.station_ids[at], int(labels.event_ms[at])]
        assert labels.verdicts[at] == verdicts[known]
        assert (labels.blocks.rows[at] == window.blocks.rows[known]).all()


def test_lasting_drift_files_one_job_and_every_decision_is_written_down(checked: Checked) -> None:
    """Breaks when the policy files beside a job, acts although it is off, or leaves no trace of what it decided."""
    registry, name = checked.check.registry, checked.settings.model_name
    report = checked.check.check(NOW_MS)
    assert report is not None and report.answer == "drift"
    off = follow_policy(checked.store, registry, Policy(), report, NOW_MS)
    assert (off.action, jobs.active_job(checked.store, name), events(checked.store, name)) == ("hold", None, [])
    on = Policy(automatic=True)
    assert follow_policy(checked.store, registry, on, report, NOW_MS).action == "file"
    filed = jobs.active_job(checked.store, name)
    assert filed is not None
    assert (filed.kind, filed.requested_by) == ("retrain", "policy: drift")
    assert follow_policy(checked.store, registry, on, report, NOW_MS + 1000).action == "hold"
    assert jobs.active_job(checked.store, name) == filed
    calm = replace_answer(report)
    assert follow_policy(checked.store, registry, on, calm, NOW_MS + 2000).action == "nothing"
    held, first = events(checked.store, name)
    assert (first.kind, first.job_id, first.model_version) == ("filed", filed.job_id, 1)
    assert "level:temperature" in first.reason
    assert (held.kind, held.job_id) == ("held_back", None)
    assert f"job {filed.job_id} is under way" in held.reason


def replace_answer(report: DriftReport) -> DriftReport:
    """The same check, had nothing lasted."""
    return msgspec.structs.replace(report, answer="no_drift", persistent=[])
