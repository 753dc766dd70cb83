"""The first model of `run`: readings of a day of the stations that will run, and a training on them."""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from core.settings import Settings
from local_stack.supervisor.programs import Program

# 3 stretches of 2,400 readings of 25 stations: 180,000 readings, and so few gaps that a gap still counts as unusual.
STATIONS, STRETCHES, STRETCH_ROWS = 25, 3, 2400
# Of each other hour of the day, for the drift reference alone: too few for anything else to learn from them.
HOUR_ROWS = 90
_DAY_SECONDS = 86_400
# What the training prints first, with the registry open.
_OPENED = re.compile(r"^\d+ readings of ", re.MULTILINE)


def simulated_stations(settings: Settings) -> int:
    """Return how many stations to simulate.

    None on the user's own Kafka, where real stations send, unless the user asked for them.
    """
    own = bool(settings.kafka_bootstrap) and "stations" not in settings.model_fields_set
    return 0 if own else settings.stations


class FirstModel:
    """Trains a champion when there is none.

    Two processes that open an empty MLflow registry at once make its tables twice, and one of them fails. Whoever else
    needs the registry waits for `registry_open`.

    Args:
        settings: stations, sensors, or the user's own readings.
        programs: with `history` and `train`.
        env: environment variables of the commands.
        cancelled: once set, whatever runs is stopped.
    """

    def __init__(
        self, settings: Settings, programs: Mapping[str, Program], env: Mapping[str, str], cancelled: threading.Event
    ) -> None:
        self._settings, self._programs, self._env, self._cancelled = settings, programs, env, cancelled
        self.registry_open = threading.Event()

    @property
    def possible(self) -> bool:
        """Whether there is anything to learn from."""
        return self._settings.training_readings is not None or simulated_stations(self._settings) > 0

    def make(self) -> None:
        """Write the history unless it is there, then train unless there is a champion.

        Raises:
            StackError: a command failed; with the end of its log.
        """
        try:
            given = self._settings.training_readings
            arguments = ["-m", "models.train", "--readings", str(given or self._history()), "--if-no-champion"]
            if not given:
                arguments.append("--reference-stretches")
            self._programs["train"].run(arguments, self._env, self._cancelled, self._look_at_registry)
        finally:
            self.registry_open.set()

    def _look_at_registry(self) -> None:
        if not self.registry_open.is_set() and _OPENED.search(
            self._programs["train"].log.read_text("utf-8", "replace")
        ):
            self.registry_open.set()

    def _history(self) -> Path:
        settings = self._settings
        stations = min(simulated_stations(settings), STATIONS)
        # Other stations, another file: what a file holds follows from its name.
        seen = [stations, settings.cadence_seconds, settings.simulator_seed, [asdict(one) for one in settings.sensors]]
        seen += [STRETCHES, STRETCH_ROWS, HOUR_ROWS]
        mark = hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:12]
        path = settings.home.resolve() / "training" / f"history-{mark}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            self._programs["history"].run(self._history_arguments(stations, path), self._env, self._cancelled)
        return path

    def _history_arguments(self, stations: int, path: Path) -> list[str]:
        days = max(1, math.ceil(STRETCHES * STRETCH_ROWS * self._settings.cadence_seconds / _DAY_SECONDS))
        return [
            *("-m", "iot_simulator", "history", "--out", str(path)),
            *("--stations", str(stations), "--days", str(days)),
            *("--stretches", str(STRETCHES), "--stretch-rows", str(STRETCH_ROWS), "--hour-rows", str(HOUR_ROWS)),
            # What is learnt here is what normal looks like.
            *("--fault-rate", "0"),
        ]
