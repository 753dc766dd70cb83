"""The product's compiled statistics against the oracle's plain ones, block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.sensors import Sensor
from models.kernels.columns import CROSS_BAND, N_WITNESSES, NOISE
from models.kernels.statistics_kernel import COUNT
from models.scoring.feature_block import Blocks
from models.scoring.shard_state import Incoming, ShardState
from models.scoring.station_prior import Prior, neutral_prior
from tests.oracle import witnesses as recipe
from tests.oracle.stations import Decision, TopicRow, expect
from tests.oracle.statistics import Statistics

NOW_MS = 1_795_262_400_000
WEEK_MS = 7 * 86_400_000
# What may happen to a station's next reading.
HAPPENINGS = (
    *["next"] * 8, "missing", "all_missing", "late", "sent_again", "conflict", "gap", "long_gap", "week", "shift",
    "spike", "stuck", "ahead", "beyond_plausible",
)  # fmt: skip
CADENCES = (0.25, 1.0, 5.0, 60.0, 300.0, 3600.0, 7200.0)
# What float32 leaves of a limit, and of a value in its unit.
CLOSE: dict[str, float] = {"rtol": 1e-5, "atol": 1e-5}
AGE = 70_000  # readings after which every average moves at its slowest
# All numbers of the oracle, but for the time constants, which are also the names of its averages.
NUMBERS = [
    name for name, value in vars(recipe).items()
    if name.isupper() and isinstance(value, int | float | tuple) and name not in ("NAN", "TAUS")
]  # fmt: skip


@dataclass
class Plant:
    """Stations that send readings; what they send follows `rng`."""

    sensors: tuple[Sensor, ...]
    cadence: float
    rng: np.random.Generator
    record_ms: int = NOW_MS

    def __post_init__(self) -> None:
        n = len(self.sensors)
        self.rows: list[TopicRow] = []
        self.sent: list[tuple[str, int, int, list[float | None]]] = []
        self.level, self.noise = self.rng.normal(20.0, 3.0, n), self.rng.choice([0.02, 0.5, 2.0], n)
        self.cycle = self.rng.choice([0.0, 3.0], n)
        self.last: dict[str, list[float | None]] = {}

    def values(self, event_ms: int) -> list[float | None]:
        """What a healthy station measures at a time of day."""
        common = self.rng.normal()
        daily = self.cycle * np.sin(event_ms / 86_400_000 * 2 * np.pi)
        noise = self.noise * (self.rng.normal(size=len(self.level)) + common)
        found = self.level + daily + noise
        steps = [sensor.resolution for sensor in self.sensors]
        return [
            float(round(value / step) * step) if step else float(value)
            for value, step in zip(found, steps, strict=True)
        ]

    def send(self, station: str, happening: str) -> None:
        """Let a station send one record, one cadence after the one before, in which something happens."""
        pauses = {"gap": 12, "long_gap": 60, "week": 1}
        self.record_ms += round(1000 * self.cadence * pauses.get(happening, 1))
        if happening == "week":
            self.record_ms += WEEK_MS
        event_ms = self.record_ms + {"late": -round(7500 * self.cadence), "ahead": 40_000}.get(happening, 0)
        event_ms = max(event_ms, self.record_ms - 29 * 86_400_000)
        place = int(self.rng.integers(len(self.sensors)))
        if happening == "shift":
            self.level[place] += self.rng.choice([-20.0, 4.0, 20.0]) * self.noise[place]
        values = self.values(event_ms)
        values[place] = {"missing": None, "spike": 60.0, "beyond_plausible": 90.0}.get(happening, values[place])
        if happening == "all_missing":
            values = [None] * len(values)
        if happening == "stuck":
            values = self.last.get(station, values)
        seq = len(self.rows)
        if happening in ("sent_again", "conflict") and self.sent:
            station, event_ms, seq, values = self.sent[-1 - int(self.rng.integers(min(20, len(self.sent))))]
            if happening == "conflict":
                values = [33.0] * len(values)
        self.last[station] = values
        self.sent.append((station, event_ms, seq, values))
        self.rows.append(TopicRow(0, len(self.rows), station.encode(), self._json(*self.sent[-1]), self.record_ms))

    def _json(self, station: str, event_ms: int, seq: int, values: Sequence[float | None]) -> bytes:
        moment = datetime.fromtimestamp(event_ms / 1000, UTC).isoformat(timespec="milliseconds")
        fields = {"schema_version": 1, "station_id": station, "event_time": moment, "seq": seq}
        measured = {sensor.name: value for sensor, value in zip(self.sensors, values, strict=True)}
        return json.dumps({**fields, **measured}).encode()


def a_prior(sensors: tuple[Sensor, ...], rng: np.random.Generator, cadence: float, strange: bool) -> Prior:
    """A prior that knows some of the sensors; a strange one switches witnesses off, and has other tails."""
    n = len(sensors)
    shape = (n, N_WITNESSES)
    blank = neutral_prior(tuple(sensor.name for sensor in sensors), cadence, float(rng.choice([0.2, 1.0, 20.0])))
    known = (rng.random((n, 1)) < 0.7).astype(float)
    factors = rng.normal(size=(2, n, 3))
    start = np.where(np.isinf(blank.tail_start), np.inf, rng.uniform(1.5, 3.0, shape))
    return replace(
        blank,
        gap_limit=float(rng.choice([np.inf, 3.0 * cadence])),
        trust=float(rng.choice([0.0, 0.9])),
        floor=np.full(n, 0.01),
        resolution=np.array([sensor.resolution for sensor in sensors]),
        run_limit=rng.choice([3.0, 8.0, np.inf], n),
        missing_limit=rng.choice([0.0, 2.0, np.inf], n),
        spread=known * rng.uniform(0.2, 2.0, shape),
        tail_start=np.where(rng.random(shape) < 0.1, np.inf, start) if strange else start,
        tail_excess=rng.uniform(0.2, 0.6, shape),
        tail_shape=rng.choice([-0.1, 0.0, 0.1], shape) if strange else np.full(shape, -0.1),
        covariance=factors @ factors.transpose(0, 2, 1) + np.eye(n),
    )


def a_catalogue(n: int) -> tuple[Sensor, ...]:
    names = [f"sensor_{number}" for number in range(n)]
    return tuple(
        Sensor(name, plausible=(-50.0, 80.0), resolution=0.1 * (place % 2)) for place, name in enumerate(names)
    )


def readings_of(decisions: Sequence[Decision]) -> Incoming:
    """The valid readings, as the state takes them."""
    readings = [decision.reading for decision in decisions if decision.reading]
    return Incoming(
        [reading.station_id for reading in readings],
        np.array([reading.event_ms for reading in readings], np.int64),
        np.array([decision.row.record_ms for decision in decisions], np.int64),
        np.array([reading.seq for reading in readings], np.int64),
        np.array([[np.nan if value is None else value for value in reading.values] for reading in readings]),
    )


def by_product(decisions: Sequence[Decision], sensors: tuple[Sensor, ...], prior: Prior, age: int) -> np.ndarray:
    """The blocks of the accepted readings. A third of the way each sensor that has begun ages by `age` readings."""
    third = len(decisions) // 3
    state, blocks = ShardState(sensors, prior), []
    for part in (decisions[:third], decisions[third:]):
        accepted = [place for place, decision in enumerate(part) if decision.fate == "accepted"]
        blocks.append(state.take(readings_of(part)).blocks.rows[accepted])
        state.learnt("sensor")[:, :, COUNT] += age * (state.learnt("sensor")[:, :, COUNT] > 0)
    return np.concatenate(blocks)


def by_oracle(
    decisions: Sequence[Decision], sensors: tuple[Sensor, ...], prior: Prior, age: int
) -> Iterator[list[float]]:
    """The same, block after block."""
    statistics = Statistics(sensors, prior)
    for place, decision in enumerate(decisions):
        if place == len(decisions) // 3:
            for memory in (memory for station in statistics.stations.values() for memory in station.sensors):
                memory.kept["count"] += age * (memory.kept["count"] > 0)
        if decision.fate == "accepted":
            yield statistics.take(decision)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    seed=st.integers(0, 2**32 - 1), n_sensors=st.integers(1, 4), n_stations=st.integers(1, 3), strange=st.booleans(),
    cadence=st.sampled_from(CADENCES), happenings=st.lists(st.sampled_from(HAPPENINGS), min_size=3, max_size=150),
    age=st.sampled_from([0, 0, 400, AGE]),
)  # fmt: skip
def test_statistics_and_oracle_agree(
    seed: int, n_sensors: int, n_stations: int, strange: bool, cadence: float, happenings: list[str], age: int
) -> None:
    """Breaks when a compiled formula is another one than the decision's page says, at any cadence or after any gap."""
    rng = np.random.default_rng(seed)
    sensors = a_catalogue(n_sensors)
    plant = Plant(sensors, cadence / n_stations, rng)
    for number, happening in enumerate(happenings):
        plant.send(f"s{number % n_stations}", happening)
    decisions = expect(plant.rows, sensors).decisions
    assert all(decision.reading for decision in decisions)
    prior = a_prior(sensors, rng, cadence, strange)
    product = by_product(decisions, sensors, prior, age)
    oracle = np.array(list(by_oracle(decisions, sensors, prior, age)), np.float32)
    np.testing.assert_allclose(product, oracle, **CLOSE)
    told, expected = (Blocks(tuple(sensor.name for sensor in sensors), rows) for rows in (product, oracle))
    for blocks in (told, expected):
        assert not np.isnan(blocks.witnesses("ratio")).any() and (blocks.witnesses("h") >= 1).all()
    np.testing.assert_array_equal(fired(told), fired(expected))


def fired(blocks: Blocks) -> np.ndarray:
    """Which witnesses and rules say that a reading is abnormal; (n, anything) bool."""
    witnesses = np.abs(blocks.witnesses("ratio")) > blocks.witnesses("h")
    stuck = blocks.per_sensor("run") > blocks.per_sensor("run_limit")
    missing = blocks.per_sensor("missing_run") > blocks.per_sensor("missing_limit")
    gap = blocks.common("elapsed") > blocks.common("gap_limit")
    return np.column_stack([witnesses.reshape(len(blocks), -1), stuck, missing, gap, blocks.per_sensor("quality")])


@dataclass(frozen=True)
class Rich:
    """A month of one station at one reading an hour, in which much happens, and what the product says of it."""

    sensors: tuple[Sensor, ...]
    prior: Prior
    decisions: Sequence[Decision]
    product: np.ndarray

    def agrees(self) -> bool:
        """Whether the oracle says the same, up to where it first does not."""
        oracle = by_oracle(self.decisions, self.sensors, self.prior, AGE)
        pairs = zip(self.product, oracle, strict=True)
        return all(np.allclose(told, np.float32(row), **CLOSE, equal_nan=True) for told, row in pairs)


@pytest.fixture(scope="module")
def rich() -> Rich:
    sensors = a_catalogue(3)
    plant = Plant(sensors, 3600.0, np.random.default_rng(11))
    plant.level[:], plant.noise[:], plant.cycle[:] = 20.0, (0.5, 0.02, 0.5), (3.0, 0.0, 1.0)
    # Beside these readings the station goes on quietly, but for a fault of the first sensor that lasts two weeks.
    story = {
        60: "missing", 80: "gap", 100: "spike", 103: "spike", 112: "spike", 124: "spike", 140: "stuck", 141: "stuck",
        142: "stuck", 143: "stuck", 144: "stuck", 160: "late", 170: "all_missing", 180: "long_gap",
    }  # fmt: skip
    for number in range(600):
        plant.level[0] = 80.0 if 230 <= number < 560 else 20.0
        plant.send("s1", story.get(number, "next"))
    blank = neutral_prior(tuple(sensor.name for sensor in sensors), 3600.0, 3.0)
    spread = np.full((3, N_WITNESSES), 0.6)
    spread[1, :NOISE], spread[:, CROSS_BAND:] = 0.02, 0.9
    resolution = np.array([sensor.resolution for sensor in sensors])
    prior = replace(blank, spread=spread, floor=np.full(3, 0.01), resolution=resolution, gap_limit=40_000.0, trust=0.5)
    decisions = expect(plant.rows, sensors).decisions
    return Rich(sensors, prior, decisions, by_product(decisions, sensors, prior, AGE))


def test_a_month_in_which_much_happens(rich: Rich) -> None:
    """Breaks when the product and the oracle differ where the tests below find their differences."""
    assert rich.agrees()


@pytest.mark.parametrize("name", NUMBERS)
def test_each_number_of_the_recipe_matters(rich: Rich, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Breaks when the comparison could not see that product and decision differ in a number."""
    value = getattr(recipe, name)
    monkeypatch.setattr(recipe, name, tuple(1.1 * v for v in value) if isinstance(value, tuple) else 1.1 * value)
    assert not rich.agrees()


@pytest.mark.parametrize("witness", recipe.LASTS)
def test_each_cluster_length_matters(rich: Rich, monkeypatch: pytest.MonkeyPatch, witness: str) -> None:
    """Breaks when a witness's own limit is not compared."""
    monkeypatch.setitem(recipe.LASTS, witness, 1.1 * recipe.LASTS[witness])
    assert not rich.agrees()
