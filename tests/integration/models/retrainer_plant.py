"""A plant with stored days, and retrainers as processes on a real Cassandra and a real MLflow."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app, store_handle
from core.settings import Settings
from models.registry.registry import CHAMPION, Registry
from models.registry.registry_mirror import mirror
from models.retraining.retrainer import now_ms
from models.training.train_steps import register
from storage.driver.session import Store, StoreConfig, connect
from tests.contract import PatientClient
from tests.keyspaces import Keyspaces
from tests.life import BUDGET, TREES, Life, lived, store_life
from tests.oracle.job import env_of
from tests.oracle.processes import Running, start
from tests.waiting import wait_until

JOB_SECONDS = 240.0


class Plant:
    """A plant with stored days, a champion, an API, and retrainers of its own.

    Args:
        settings: of all of them.
        store: the test's own door.
        client: the API.
    """

    def __init__(self, settings: Settings, store: Store, client: FlaskClient) -> None:
        """No retrainer runs yet."""
        self.settings, self.store, self.client = settings, store, client
        self.registry = Registry(settings.tracking_uri, settings.model_name)
        self._retrainers: list[Running] = []

    def retrainer(self, **settings: object) -> Running:
        """Start one, with other settings than the plant's where they are given."""
        name = f"retrainer-{len(self._retrainers)}"
        log, env = self.settings.home / f"{name}.log", env_of(self.settings.model_copy(update=settings))
        self._retrainers.append(start(name, ["-m", "models.retraining.retrainer"], env, log))
        return self._retrainers[-1]

    def stop(self) -> None:
        """End those that live."""
        for process in self._retrainers:
            if process.family():
                process.kill()
        self._retrainers = []

    def file(self, path: str, **request: Any) -> TestResponse:
        """Ask for a job by a client of one's own, again with the same key while Cassandra is slow."""
        return self.client.application.test_client().post(
            path, headers={"Idempotency-Key": uuid.uuid4().hex}, **request
        )

    def job(self, place: str) -> dict[str, Any]:
        """A job as the API shows it."""
        return dict(self.client.get(place).get_json())

    def over(self, place: str) -> dict[str, Any]:
        """Wait for the end of a job."""
        self.until(lambda: self.job(place)["state"] not in ("queued", "running"), f"{place} ends")
        return self.job(place)

    def until(self, holds: Any, what: str) -> None:
        """Wait until `holds()`."""
        wait_until(holds, what, JOB_SECONDS, lambda: "".join(process.tail() for process in self._retrainers))


@contextmanager
def plant_in(home: Path, keyspaces: Keyspaces) -> Iterator[Plant]:
    """Stored days of ten stations; version 1 is champion."""
    changes = {
        "forest_trees": TREES,
        "false_alarm_budget": BUDGET,
        "retrain_window_hours": 96,
        "retrain_pause_seconds": 0,
        "retrainer_metrics_port": 0,
        "api_requests_per_minute": 0,
        "drift_check_minutes": 1000,
    }
    with (
        keyspaces.lent(home=home, **changes) as mine,
        closing(connect(StoreConfig.from_settings(mine))) as store,
        closing(store_handle(mine)) as handle,
    ):
        life = life_of_the_session()
        store_life(store, life)
        handle.start()
        app = create_app(mine, handle)
        app.test_client_class = PatientClient
        found = Plant(mine, store, app.test_client())
        register(found.registry, life.first, alias=CHAMPION)
        mirror(found.registry, store, now_ms())
        found.until(lambda: found.client.get("/api/v1/models").status_code == 200, "the API reaches Cassandra")
        try:
            yield found
        finally:
            found.stop()


@cache
def life_of_the_session() -> Life:
    """One life for all plants: simulating it and fitting its model takes seconds."""
    return lived(now_ms())
