"""When a station's row is due: every 10 s, less often while the stream is behind, at once when it is flushed."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from core.reading import Validator
from core.sensors import DEFAULT_SENSORS
from iot_simulator.encode import encode_reading
from models.scoring.shard_state import ShardState
from models.scoring.station_prior import neutral_prior
from spark_jobs.tasks.state_operator import Records, binary, take_records

NOON_S = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp())
NAMES = tuple(sensor.name for sensor in DEFAULT_SENSORS)


class Shard:
    """A shard with one station, which sends a reading now and then."""

    def __init__(self) -> None:
        self._state = ShardState(DEFAULT_SENSORS, neutral_prior(NAMES))
        self._validator = Validator(DEFAULT_SENSORS)

    def rows(self, second: int | None, behind_s: int = 0, *, flush: bool = False) -> list[int]:
        """Take a reading of a second of the day, or none; return the readings that each station row counts."""
        taken = [] if second is None else [second]
        at = [datetime.fromtimestamp(NOON_S + one, UTC).isoformat().replace("+00:00", ".000Z") for one in taken]
        values = [encode_reading("a", time, 1, dict.fromkeys(NAMES, 20.0)) for time in at]
        record_ms = np.array([(NOON_S + one) * 1000 for one in taken], np.int64)
        places = np.array(taken, np.int64)
        keys = binary([b"a" for _ in taken])
        records = Records(places.astype(np.int32) * 0, places, record_ms, keys, binary(values))
        output = take_records(self._state, self._validator, records, flush=flush, behind_ms=behind_s * 1000)
        return list(output.stations["readings"].to_pylist())


@pytest.mark.parametrize(("behind_s", "pause_s"), [(0, 10), (19, 10), (60, 30), (3600, 1800)])
def test_rows_follow_at_half_of_what_the_stream_is_behind_and_never_closer_than_ten_seconds(
    behind_s: int, pause_s: int
) -> None:
    """Breaks when catching up writes every station over and over, or a stream that keeps up shows old stations."""
    shard = Shard()
    assert shard.rows(0, behind_s) == [1]
    assert shard.rows(pause_s - 1, behind_s) == []
    assert shard.rows(pause_s, behind_s) == [3]


def test_a_stream_that_has_caught_up_writes_what_it_held_back() -> None:
    """Breaks when a station stays as old as the stream once was."""
    shard = Shard()
    assert shard.rows(0, 3600) == [1]
    assert shard.rows(60, 3600) == []
    assert shard.rows(61) == [3]


def test_a_flush_writes_what_was_held_back_however_far_behind() -> None:
    """Breaks when a plant that stopped long ago keeps rows from before its last readings."""
    shard = Shard()
    assert shard.rows(0, 3600) == [1]
    assert shard.rows(1, 3600) == []
    assert shard.rows(None, flush=True) == [2]
