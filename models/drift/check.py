"""Drift: how far the readings of some hours are from those a model version was trained on.

Effect sizes decide, never p-values: with a million rows every difference is "significant", and readings of one station
follow each other too closely to count as so many rows. Per feature: the Wasserstein distance in standard deviations of
the training, and the population stability index (PSI); for pairs of sensors the change of their correlation. Each comes
with the bounds of a bootstrap over stations, and fires when its lower bound is beyond the stated effect. A check looks
at several windows in a row and says drift only for what fires in enough of them.

Only equal hours of the day are compared. Flagged readings are left out on both sides (they tell of faults); how many
are flagged is compared by itself: inputs may move without the verdicts following, and the other way round.

Not for: a single bad station (that is an anomaly), or a plant that changes within minutes.

Source: block bootstrap (Künsch 1989) with the basic interval (Davison, Hinkley 1997), which takes the upward bias of a
distance off; PSI and its usual limits (Siddiqi 2006); Wasserstein over sigma (Evidently's default for large samples).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.verdict import Flag
from models.drift.measures import Grid, bounds, kolmogorov_p, shares_by_block
from models.drift.reference import Compared, DriftReference, comparable, unusual
from models.drift.report import (
    DriftReport,
    FeatureDrift,
    Flips,
    ReferenceFacts,
    VerdictDrift,
    WindowCounts,
    WindowDrift,
    conclusion,
)
from models.scoring.detector import Detector
from models.scoring.feature_samples import Samples


@dataclass(frozen=True)
class DriftLimits:
    """What counts as drift.

    Args:
        window_ms: length of a window.
        windows: m, how many windows in a row are looked at; the last one is the current.
        persistent: k of these in which a feature has to fire.
        least_rows: rows below which a window says nothing.
        wasserstein: least distance that matters, in standard deviations of the training.
        psi: least population stability index that matters.
        correlation: least change of a correlation that matters.
        flag_rate: least change of the share of flagged readings that matters.
        draws: of the bootstrap.
        confidence: of the bounds, one-sided.
    """

    window_ms: int = 6 * 3_600_000
    windows: int = 3
    persistent: int = 2
    least_rows: int = 500
    wasserstein: float = 0.2
    psi: float = 0.25
    correlation: float = 0.25
    flag_rate: float = 0.05
    draws: int = 200
    confidence: float = 0.975


def check_drift(
    samples: Samples,
    reference: DriftReference | None,
    detector: Detector,
    *,
    version: int,
    now_ms: int,
    limits: DriftLimits,
    rng: np.random.Generator,
) -> DriftReport:
    """Hold the readings before `now_ms` against a version's training.

    Args:
        samples: readings of the last `windows` windows; what lies outside is left aside.
        reference: of the version; None for one that carries none.
        detector: of the version.
        version: its number, for the report.
        now_ms: end of the current window, ms since the epoch.
        limits: what counts as drift.
        rng: of the bootstrap.
    """
    spans = [(now_ms - (back + 1) * limits.window_ms, now_ms - back * limits.window_ms)
             for back in reversed(range(limits.windows))]  # fmt: skip
    windows = [compare_window(samples.between(*span), span, reference, detector, limits, rng) for span in spans]
    return conclusion(windows, version=version, checked_ms=now_ms, least=limits.persistent, facts=_facts(reference))


def _facts(reference: DriftReference | None) -> ReferenceFacts | None:
    if reference is None:
        return None
    hours = sorted(set(reference.hour.tolist()))
    return ReferenceFacts(reference.readings, len(reference.rows), len(reference.stations), hours)


def compare_window(
    samples: Samples,
    span: tuple[int, int],
    reference: DriftReference | None,
    detector: Detector,
    limits: DriftLimits,
    rng: np.random.Generator,
) -> WindowDrift:
    """Hold the readings of one window, `span` in ms since the epoch, against a version's training."""
    good = comparable(samples.flags)
    known = np.isin(samples.hours, np.unique(reference.hour)) if reference else np.zeros(len(samples), bool)
    counts = WindowCounts(
        samples=len(samples),
        late_or_warming_up=int((~good).sum()),
        hours_not_in_training=int((good & ~known).sum()),
        flagged=int((good & known & unusual(samples.flags)).sum()),
        used=int((good & known & ~unusual(samples.flags)).sum()),
        stations=len(set(samples.station_ids)),
    )
    if reference is None or good.sum() < limits.least_rows or (good & known).sum() < limits.least_rows:
        return WindowDrift(*span, counts, insufficient=_why_insufficient(counts, reference, limits))
    rows = samples.take(good & known)
    compared, flags = reference.compare(rows, detector)
    both = _Sides.of(reference, rows, compared, flags)
    features = both.features(limits, rng)
    counts.without_value = int(np.isnan(both.current[:, : len(reference.sensors)]).all(axis=1).sum())
    if not any(feature.rows for feature in features if feature.name.startswith("value:")):
        return WindowDrift(*span, counts, insufficient="no reading has a plausible value")
    return WindowDrift(*span, counts, features, both.verdicts(rows.flags, flags, limits, rng))


def _why_insufficient(counts: WindowCounts, reference: DriftReference | None, limits: DriftLimits) -> str:
    if reference is None:
        return "the model version carries no reference of its training; train it again"
    if not counts.samples:
        return "no readings"
    if counts.samples - counts.late_or_warming_up - counts.hours_not_in_training >= counts.hours_not_in_training:
        return f"only {counts.used + counts.flagged} comparable readings, {limits.least_rows} are needed"
    return (
        f"{counts.hours_not_in_training} of {counts.samples} readings are of hours of the day that the training does "
        "not know"
    )


@dataclass(frozen=True)
class _Sides:
    """Both sides of a comparison, the training weighted so that each hour of the day counts as much as in the current.

    Args:
        names: of the columns.
        sensors: how many.
        current, reference: (n, n_columns), (m, n_columns).
        current_block, reference_block: of each row: readings of one block are drawn together.
        weight: (m,) of the reference rows.
        current_flagged, reference_flagged: bool.
        paired: a block is the same station on both sides.
    """

    names: tuple[str, ...]
    sensors: int
    current: np.ndarray
    reference: np.ndarray
    current_block: np.ndarray
    reference_block: np.ndarray
    weight: np.ndarray
    current_flagged: np.ndarray
    reference_flagged: np.ndarray
    paired: bool

    @classmethod
    def of(cls, reference: DriftReference, rows: Samples, compared: Compared, flags: np.ndarray) -> _Sides:
        """Put both sides together."""
        training = reference.compared()
        hours = np.bincount(rows.hours, minlength=24) / np.maximum(np.bincount(reference.hour, minlength=24), 1)
        used = hours[reference.hour] > 0
        current_block, reference_block, paired = _blocks(reference, rows, used)
        return cls(
            names=compared.names,
            sensors=len(reference.sensors),
            current=compared.columns,
            reference=training.columns[used],
            current_block=current_block,
            reference_block=reference_block,
            weight=hours[reference.hour][used],
            current_flagged=unusual(flags),
            reference_flagged=reference.flagged[used],
            paired=paired,
        )

    def _draws(self, limits: DriftLimits, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """How often each block is drawn, (1 + draws, n_blocks) for the current side and the training; row 0 is once."""
        n = [int(blocks.max(initial=-1)) + 1 for blocks in (self.current_block, self.reference_block)]
        if self.paired:
            n = [max(n)] * 2
        drawn = [np.vstack([np.ones(size), rng.multinomial(size, np.full(size, 1.0 / size), limits.draws)])
                 for size in n]  # fmt: skip
        return drawn[0], drawn[0] if self.paired else drawn[1]

    def features(self, limits: DriftLimits, rng: np.random.Generator) -> list[FeatureDrift]:
        """Compare every column, then every pair of sensors."""
        draws = self._draws(limits, rng)
        found = [self._feature(place, name, draws, limits) for place, name in enumerate(self.names)]
        pairs = [(a, b) for a in range(self.sensors) for b in range(a + 1, self.sensors)]
        return found + [self._pair(a, b, draws, limits) for a, b in pairs]

    def _feature(
        self, place: int, name: str, draws: tuple[np.ndarray, np.ndarray], limits: DriftLimits
    ) -> FeatureDrift:
        now, before = self.current[:, place], self.reference[:, place]
        use_now, use_before = ~self.current_flagged & ~np.isnan(now), ~self.reference_flagged & ~np.isnan(before)
        rows, training_rows = int(use_now.sum()), int(use_before.sum())
        if rows < limits.least_rows or training_rows < limits.least_rows:
            return FeatureDrift(name, rows, training_rows)
        now, before, weight = now[use_now], before[use_before], self.weight[use_before]
        grid = Grid.of(before, weight)
        current = shares_by_block(draws[0], self.current_block[use_now], grid.cells(now), None)
        training = shares_by_block(draws[1], self.reference_block[use_before], grid.cells(before), weight)
        distance = bounds(grid.wasserstein(current, training), limits.confidence)
        index = bounds(grid.psi(current, training, rows, training_rows), limits.confidence)
        fired = distance.low >= limits.wasserstein or index.low >= limits.psi
        p = kolmogorov_p(grid.largest_gap(current[0], training[0]), rows, training_rows)
        return FeatureDrift(name, rows, training_rows, distance, index, p, fired)

    def _pair(self, a: int, b: int, draws: tuple[np.ndarray, np.ndarray], limits: DriftLimits) -> FeatureDrift:
        """Whether two sensors of a station still move together, whatever became of each of them."""
        first, second = self.sensors + a, self.sensors + b
        sensor = [self.names[place].removeprefix("level:") for place in (first, second)]
        name = f"correlation:{sensor[0]}~{sensor[1]}"
        sides = []
        for columns, flagged, blocks, weight, drawn in (
            (self.current, self.current_flagged, self.current_block, None, draws[0]),
            (self.reference, self.reference_flagged, self.reference_block, self.weight, draws[1]),
        ):
            use = ~flagged & ~np.isnan(columns[:, [first, second]]).any(axis=1)
            # One wild value must not make a correlation.
            pair = np.clip(columns[use][:, [first, second]], -6.0, 6.0)
            sides.append(
                (int(use.sum()), _correlation(pair, blocks[use], None if weight is None else weight[use], drawn))
            )
        (rows, now), (training_rows, before) = sides
        if min(rows, training_rows) < limits.least_rows:
            return FeatureDrift(name, rows, training_rows)
        change = bounds(np.abs(now - before), limits.confidence)
        return FeatureDrift(name, rows, training_rows, change, fired=change.low >= limits.correlation)

    def verdicts(
        self, stored: np.ndarray, flags: np.ndarray, limits: DriftLimits, rng: np.random.Generator
    ) -> VerdictDrift:
        """Compare the share of flagged readings, and count verdicts that the version would give differently today."""
        draws = self._draws(limits, rng)
        now = shares_by_block(draws[0], self.current_block, self.current_flagged.astype(np.int64), None, 2)[:, 1]
        before = shares_by_block(
            draws[1], self.reference_block, self.reference_flagged.astype(np.int64), self.weight, 2
        )[:, 1]
        change = bounds(np.abs(now - before), limits.confidence)
        was, would = (stored & Flag.ANOMALY) != 0, (flags & Flag.ANOMALY) != 0
        flips = Flips(len(was), int((~was & would).sum()), int((was & ~would).sum()))
        return VerdictDrift(float(now[0]), float(before[0]), change, flips, change.low >= limits.flag_rate)


_MOST_BLOCKS, _FEW_STATIONS, _BLOCK_MS = 512, 8, 3_600_000


def _blocks(reference: DriftReference, rows: Samples, used: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Number the blocks of both sides.

    Stations are independent of each other, so a block is a station, the same one on both sides. With few stations it is
    an hour of a station: longer than what most walks of a sensor remember, and all that there is.
    """
    known = {name: place for place, name in enumerate(reference.stations)}
    # Stations that the training does not know get places of their own.
    current = np.array([known.setdefault(name, len(known)) for name in rows.station_ids], np.int64)
    training = reference.station[used]
    if len(known) >= _FEW_STATIONS:
        # Renumbered without holes, then shared among a bounded number of blocks.
        _, codes = np.unique(np.concatenate([current, training]), return_inverse=True)
        codes %= _MOST_BLOCKS
        return codes[: len(current)], codes[len(current) :], True
    sides = []
    for station, event_ms in ((current, rows.event_ms), (training, reference.event_ms[used])):
        _, codes = np.unique(station * 2**40 + event_ms // _BLOCK_MS, return_inverse=True)
        sides.append(codes % _MOST_BLOCKS)
    return sides[0], sides[1], False


def _correlation(pair: np.ndarray, block: np.ndarray, weight: np.ndarray | None, drawn: np.ndarray) -> np.ndarray:
    """Correlation of two columns under each draw of blocks, (n_draws,); 0 where one of them does not move."""
    one, two = pair.T
    weight = np.ones(len(one)) if weight is None else weight
    products = [weight, weight * one, weight * two, weight * one * one, weight * two * two, weight * one * two]
    sums = drawn @ np.stack([np.bincount(block, part, drawn.shape[1]) for part in products], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums[:, 1:] / sums[:, :1]
        covariance = mean[:, 4] - mean[:, 0] * mean[:, 1]
        variance = (mean[:, 2] - mean[:, 0] ** 2) * (mean[:, 3] - mean[:, 1] ** 2)
        return np.nan_to_num(covariance / np.sqrt(np.maximum(variance, 0.0)), nan=0.0, posinf=0.0, neginf=0.0)
