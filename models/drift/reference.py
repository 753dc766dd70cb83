"""What a model version remembers of its training, so that later readings can be held against it.

A bounded sample of training readings with their hour and station, and each station's own level and spread. It travels
in the version's artefact. The level matters because the witnesses follow their station: after a slow shift all of them
look as in training, and only the distance from where the station once was tells.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass, replace

import numpy as np

from core.errors import ArtefactRefused
from core.verdict import Flag
from models.kernels.statistics_kernel import YOUNG
from models.scoring.detector import Detector
from models.scoring.feature_block import PRESENT, Blocks
from models.scoring.feature_samples import Samples, fair_share
from models.scoring.features import FEATURES, features
from models.scoring.rules import IMPLAUSIBLE

SAMPLE_ROWS = 8192  # 340 for each hour of the day; 250 KB
MOST_STATIONS = 4096
LEAST_ROWS = 30  # of a station, for a level of its own
SCORE = "score"
# Until then a station's limits, spreads and daily profile are still being learnt, and what is measured against them
# moves by itself: checks without any drift fired nine times in ten on stations of 2,000 readings.
MATURE_MS, MATURE_READINGS = 3 * 86_400_000, 20_000
_FORMAT = 1
_UNUSUAL = Flag.ANOMALY | IMPLAUSIBLE.bit


def comparable(flags: np.ndarray) -> np.ndarray:
    """Whether a reading says something of the plant: punctual, of a station that has shown itself, (n,) bool."""
    return (flags & (Flag.LATE | Flag.WARMING_UP)) == 0


def unusual(flags: np.ndarray) -> np.ndarray:
    """Whether a reading was flagged: it tells of a fault, not of how normal looks, (n,) bool."""
    return (flags & _UNUSUAL) != 0


def mature(blocks: Blocks) -> np.ndarray:
    """Whether a station had been watched long enough for its features and score to stand still, (n,) bool."""
    weight = blocks.per_sensor("weight").max(axis=1).astype(np.float64)
    elapsed = blocks.common("elapsed").astype(np.float64)
    steps = elapsed[elapsed > 0]
    cadence = float(np.median(steps)) if len(steps) else 0.0
    readings = YOUNG * weight / (1.0 - weight)
    return np.asarray((readings >= MATURE_READINGS) & (readings * cadence * 1000.0 >= MATURE_MS))


@dataclass(frozen=True)
class Compared:
    """Columns that are held against each other.

    Args:
        names: of the columns.
        columns: (n, len(names)) float64; NaN where a reading says nothing.
        station: (n,) int64 place in the reference's stations, -1 for a station it does not know.
    """

    names: tuple[str, ...]
    columns: np.ndarray
    station: np.ndarray


@dataclass(frozen=True)
class DriftReference:
    """The training of a version, in a bounded form.

    Args:
        sensors: names.
        stations: ids of the stations whose level is known.
        centre, spread: (n_stations, n_sensors) mean and standard deviation of each station's training values, sensor
            units; NaN for a sensor without values.
        rows: (m, n_sensors + len(FEATURES) + 1) float64: distance from the station's level in its spreads, the
            forest's features, the score; NaN where a reading says nothing.
        hour: (m,) of the day, UTC.
        station: (m,) place in `stations`.
        event_ms: (m,) ms since the epoch.
        flagged: (m,) bool, the version itself flags the reading.
        readings: how many readings the sample was drawn from.
    """

    sensors: tuple[str, ...]
    stations: tuple[str, ...]
    centre: np.ndarray
    spread: np.ndarray
    rows: np.ndarray
    hour: np.ndarray
    station: np.ndarray
    event_ms: np.ndarray
    flagged: np.ndarray
    readings: int

    def compared(self) -> Compared:
        """Return the sample's columns; see `compare`."""
        level = self.rows[:, : len(self.sensors)]
        value = level * self.spread[self.station] + self.centre[self.station]
        return Compared(self.names, np.concatenate([value, self.rows], axis=1), self.station)

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of `compared`: the values, the stations' levels, the forest's features, the score."""
        return (
            *(f"value:{sensor}" for sensor in self.sensors),
            *(f"level:{sensor}" for sensor in self.sensors),
            *FEATURES,
            SCORE,
        )

    def compare(self, samples: Samples, detector: Detector) -> tuple[Compared, np.ndarray]:
        """Return the same columns of other readings, and the flags that this version gives them, (n,) int32."""
        verdicts = detector.judge(samples.blocks, samples.station_ids)
        places = {station: place for place, station in enumerate(self.stations)}
        station = np.array([places.get(name, -1) for name in samples.station_ids], np.int64)
        value = _values(samples.blocks, self.sensors)
        level = (value - self.centre[station]) / self.spread[station]
        level[station < 0] = np.nan
        judged = np.column_stack([features(samples.blocks, detector.reference), verdicts.score])
        judged[~mature(samples.blocks)] = np.nan
        columns = [value, level, judged]
        return Compared(self.names, np.concatenate(columns, axis=1), station), verdicts.flags

    def to_bytes(self) -> bytes:
        """Return it as a numpy archive without pickles; equal references give equal bytes."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            allow_pickle=False,
            format=np.int64(_FORMAT),
            sensors=_text(self.sensors),
            stations=_text(self.stations),
            centre=self.centre.astype(np.float32),
            spread=self.spread.astype(np.float32),
            rows=self.rows.astype(np.float16),
            hour=self.hour.astype(np.int8),
            station=self.station.astype(np.int32),
            event_ms=self.event_ms.astype(np.int64),
            flagged=self.flagged.astype(np.bool_),
            readings=np.int64(self.readings),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> DriftReference:
        """Read a reference back.

        Raises:
            ArtefactRefused: not a reference of this release, or parts that do not fit each other.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as held:
                if int(held["format"]) != _FORMAT:
                    raise ArtefactRefused(f"the drift reference has format {held['format']}, this release {_FORMAT}")
                found = cls(
                    sensors=_names(held["sensors"]),
                    stations=_names(held["stations"]),
                    centre=held["centre"].astype(np.float64),
                    spread=held["spread"].astype(np.float64),
                    rows=held["rows"].astype(np.float64),
                    hour=held["hour"].astype(np.int64),
                    station=held["station"].astype(np.int64),
                    event_ms=held["event_ms"],
                    flagged=held["flagged"],
                    readings=int(held["readings"]),
                )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ArtefactRefused(f"the drift reference cannot be read: {error}") from error
        found._check()
        return found

    def _check(self) -> None:
        n, table = len(self.rows), (len(self.stations), len(self.sensors))
        fits = self.centre.shape == self.spread.shape == table
        fits &= self.rows.shape == (n, len(self.sensors) + len(FEATURES) + 1)
        fits &= all(part.shape == (n,) for part in (self.hour, self.station, self.event_ms, self.flagged))
        fits &= bool(((self.station >= 0) & (self.station < max(table[0], 1))).all())
        fits &= bool(((self.hour >= 0) & (self.hour < 24)).all())
        if not fits:
            raise ArtefactRefused("the parts of the drift reference do not fit each other")


def reference_of(data: bytes) -> DriftReference | None:
    """Read the reference that a version carries; None for a version without one.

    Raises:
        ArtefactRefused: it is not a reference of this release.
    """
    return DriftReference.from_bytes(data) if data else None


def make_reference(samples: Samples, detector: Detector, rng: np.random.Generator) -> DriftReference:
    """Sum a training up.

    Args:
        samples: its readings, or a sample of them; their flags as stored do not matter.
        detector: the version that was fitted.
        rng: draws the rows that are kept, as many of each hour of the day as of the others where there are enough.
    """
    sensors = tuple(name for name in samples.blocks.sensors if name in detector.spec.sensors)
    flags = detector.judge(samples.blocks, samples.station_ids).flags
    good = comparable(flags)
    stations, centre, spread = _levels(samples.take(good & ~unusual(flags)), sensors)
    none = np.zeros(0, np.int64)
    width = len(sensors) + len(FEATURES) + 1
    blank = DriftReference(
        sensors, stations, centre, spread, np.zeros((0, width)), none, none, none, none, int(good.sum())
    )
    known = set(stations)
    candidates = np.flatnonzero(good & np.array([name in known for name in samples.station_ids], bool))
    chosen = samples.take(_evenly(candidates, samples.hours[candidates], rng))
    compared, flags = blank.compare(chosen, detector)
    return replace(
        blank,
        rows=np.clip(compared.columns[:, len(sensors) :], -1e4, 1e4),
        hour=chosen.hours,
        station=compared.station,
        event_ms=chosen.event_ms,
        flagged=unusual(flags),
    )


def _evenly(rows: np.ndarray, hour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw at most `SAMPLE_ROWS` of the rows: a check compares hours of the day, and a rare one needs enough, too."""
    share = fair_share(np.bincount(hour, minlength=24), SAMPLE_ROWS)
    of_hours = (rows[hour == one] for one in range(24))
    return np.sort(np.concatenate([rng.permutation(of_hour)[:share] for of_hour in of_hours]))


def _levels(samples: Samples, sensors: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return the stations with enough rows, and mean and standard deviation of their values."""
    names, codes, counts = np.unique(np.array(samples.station_ids, str), return_inverse=True, return_counts=True)
    often = np.flatnonzero(counts >= LEAST_ROWS)
    if len(often) > MOST_STATIONS:
        # A hash of the name, so that the choice has nothing to do with how stations are numbered.
        often = np.sort(
            np.array(sorted(often, key=lambda place: zlib.crc32(str(names[place]).encode()))[:MOST_STATIONS])
        )
    value = _values(samples.blocks, sensors)
    known, filled = ~np.isnan(value), np.nan_to_num(value)
    with np.errstate(invalid="ignore", divide="ignore"):
        number = _summed(known.astype(np.float64), codes, len(names))
        mean = _summed(filled, codes, len(names)) / number
        centred = np.where(known, filled - mean[codes], 0.0)
        spread = np.sqrt(_summed(centred**2, codes, len(names)) / number)
    # A sensor that never moved in training has no spread to measure by.
    spread = np.maximum(spread, 1e-6 * np.maximum(np.abs(mean), 1e-3))
    return tuple(str(name) for name in names[often]), mean[often], spread[often]


def _summed(table: np.ndarray, codes: np.ndarray, n: int) -> np.ndarray:
    """Sum each column by station, (n, n_columns)."""
    return np.stack([np.bincount(codes, column, n) for column in table.T], axis=1)


def _values(blocks: Blocks, sensors: tuple[str, ...]) -> np.ndarray:
    """Return plausible values, (n, n_sensors) float64; NaN where there is none or the catalogue lost the sensor."""
    values = np.where(blocks.per_sensor("quality") == PRESENT, blocks.per_sensor("value").astype(np.float64), np.nan)
    columns = np.full((len(blocks), len(sensors)), np.nan)
    for place, name in enumerate(sensors):
        if name in blocks.sensors:
            columns[:, place] = values[:, blocks.sensors.index(name)]
    return columns


def _text(names: tuple[str, ...]) -> np.ndarray:
    return np.frombuffer("\n".join(names).encode(), np.uint8)


def _names(array: np.ndarray) -> tuple[str, ...]:
    text = array.astype(np.uint8).tobytes().decode()
    return tuple(text.split("\n")) if text else ()
