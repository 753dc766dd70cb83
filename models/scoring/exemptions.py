"""Scoped exemptions: readings that look like what people called false alarms, and fire no more.

Each false alarm that people confirmed is remembered by its *look*: which witnesses of which sensors were unusual, in
which direction and how much, each over its own limit. A later reading that would be flagged is exempt when, at the same
station, it looks like one of them: nothing fires that was quiet there, and every witness is within a factor of the
look. So another sensor, another direction, a rule, or the same thing much stronger still fires.

Not for: a fault that looks exactly like the benign thing at the same station. People who confirm an anomaly keep the
exemptions at half its distance; the gates keep a version from being promoted whose exemptions cost recall.

Source: exemplars with a radius of their own, as in restricted Coulomb energy networks (Reilly, Cooper, Elbaum 1982);
the radius is learnt by leaving one episode out at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from models.scoring.feature_block import WITNESSES, Blocks

QUIET = 0.8  # of its limit: a witness below it says nothing of how a reading looks
_FIRES = np.float32(-np.log(QUIET))  # the look of a witness at its limit
_CHUNK = 4096


class Exemptions(msgspec.Struct, frozen=True):
    """Looks that fire no more.

    Args:
        sensors: whose witnesses make up a look, in order.
        stations: of each look, the station it holds at.
        rules: of each look, the rules that may fire with it; bits of `Flag`.
        radius: of each look, largest distance in any direction, as the log of a factor.
        looks: (n, len(sensors) * len(WITNESSES) + 1) float16, little endian; see `look_of`.
    """

    sensors: tuple[str, ...]
    stations: tuple[str, ...]
    rules: tuple[int, ...]
    radius: tuple[float, ...]
    looks: bytes

    def table(self) -> np.ndarray:
        """Return the looks, (n, width) float32.

        Raises:
            ValueError: parts that do not fit each other.
        """
        width = len(self.sensors) * len(WITNESSES) + 1
        table = np.frombuffer(self.looks, "<f2").astype(np.float32).reshape(len(self.stations), width)
        if not len(self.stations) == len(self.rules) == len(self.radius) or not np.isfinite(table).all():
            raise ValueError("the exemptions' parts do not fit each other")
        return table

    def covers(self, blocks: Blocks, stations: Sequence[str], rules: np.ndarray) -> np.ndarray:
        """Return which readings are exempt, (n,) bool.

        Args:
            blocks: n readings that would be flagged.
            stations: of each.
            rules: (n,) bits of the rules that fire.
        """
        covered = np.zeros(len(blocks), bool)
        if not set(self.sensors) <= set(blocks.sensors) or not len(blocks):
            return covered
        # A sensor that was added later is not part of any look: what it says must fire as it always does.
        others = blocks.of_sensors([name for name in blocks.sensors if name not in self.sensors])
        looks, known, radius = look_of(blocks.of_sensors(self.sensors)), self.table(), np.array(self.radius, np.float32)
        for station in set(stations) & set(self.stations):
            there = np.flatnonzero(np.array(self.stations, object) == station)
            allowed = np.array(self.rules, np.int64)[there]
            here = np.flatnonzero(np.array(stations, object) == station)
            for part in np.array_split(here, -(-len(here) // _CHUNK)):
                near = distances(looks[part], known[there]) <= radius[there]
                near &= (rules[part, np.newaxis] & ~allowed) == 0
                covered[part] = near.any(axis=1)
        quiet = (np.abs(others.witnesses("ratio")) <= 1.0).all(axis=(1, 2)) if others.sensors else True
        return np.asarray(covered & quiet)


def look_of(blocks: Blocks) -> np.ndarray:
    """Return how readings look: the signed log of each witness over its limit, 0 while it is quiet, and of `lasting`.

    Returns:
        (n, n_sensors * len(WITNESSES) + 1) float32.
    """
    ratio = blocks.witnesses("ratio").astype(np.float32).reshape(len(blocks), -1)
    whole = np.column_stack([ratio, blocks.common("lasting")])
    return np.sign(whole) * np.log(np.maximum(np.abs(whole) / np.float32(QUIET), np.float32(1.0)))


def distances(readings: np.ndarray, looks: np.ndarray) -> np.ndarray:
    """Largest difference in any direction between readings and looks, (n, m) float32.

    Infinite when a witness fires in the reading that was quiet, or on the other side, in the look.
    """
    found = np.zeros((len(readings), len(looks)), np.float32)
    for column in range(readings.shape[1]):
        mine, theirs = readings[:, column, np.newaxis], looks[:, column]
        np.maximum(found, np.abs(mine - theirs), out=found)
        found[(np.abs(mine) > _FIRES) & (mine * theirs <= 0.0)] = np.inf
    return found
