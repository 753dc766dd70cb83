"""The block: what the state says about one reading, without any model.

Every version's features and verdict follow from a block alone, so it is what travels from the state to the scoring
stage and what is stored beside an anomaly. A row of float32: `COMMON` columns, then for each sensor `PER_SENSOR`
columns and, for each of `WITNESSES`, the columns `ratio` and `h`. No limit, spread or typical value in it has learnt
from the reading itself.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import ArtefactRefused
from models.kernels.columns import (
    COMMON,
    IMPLAUSIBLE,
    MISSING,
    PER_SENSOR,
    PER_WITNESS,
    PRESENT,
    SENSOR_WIDTH,
    WITNESSES,
)

BLOCK_VERSION = 2
_HEADER = struct.Struct("<BBH")  # version, sensors, columns


def block_width(n_sensors: int) -> int:
    """Columns of a block for `n_sensors` sensors."""
    return len(COMMON) + n_sensors * SENSOR_WIDTH


@dataclass(frozen=True)
class Blocks:
    """Blocks of many readings, with columns by name.

    Args:
        sensors: names, in the order of the columns.
        rows: (n_rows, block_width(n_sensors)) float32. Values, `typical`, `spread`, `lower` and `upper` in the sensors'
            units, `elapsed` and `gap_limit` in seconds, runs and their limits in readings, the rest dimensionless:
            `ratio` is a witness over its own limit, signed, `h` its controller, `lasting` the mean of the largest
            |ratio| over the last 30 readings or so, `weight` in [0, 1) how much the station has shown itself.
    """

    sensors: tuple[str, ...]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def common(self, column: str) -> np.ndarray:
        """Return one of `COMMON`, (n_rows,) float32."""
        return self.rows[:, COMMON.index(column)]

    def per_sensor(self, column: str) -> np.ndarray:
        """Return one of `PER_SENSOR`, (n_rows, n_sensors) float32."""
        return self.rows[:, len(COMMON) + PER_SENSOR.index(column) :: SENSOR_WIDTH]

    def witness(self, witness: str, column: str) -> np.ndarray:
        """Return one of `PER_WITNESS` of one of `WITNESSES`, (n_rows, n_sensors) float32."""
        return self.witnesses(column)[:, :, WITNESSES.index(witness)]

    def witnesses(self, column: str) -> np.ndarray:
        """Return one of `PER_WITNESS` of all `WITNESSES`, (n_rows, n_sensors, n_witnesses) float32."""
        cells = self.rows[:, len(COMMON) :].reshape(len(self.rows), len(self.sensors), SENSOR_WIDTH)
        return cells[:, :, len(PER_SENSOR) + PER_WITNESS.index(column) :: len(PER_WITNESS)]

    def whole(self) -> np.ndarray:
        """Return the rows for compiled code: side by side and read-only, so that it is compiled for one type."""
        rows = np.ascontiguousarray(self.rows).view()
        rows.flags.writeable = False
        return rows

    def take(self, chosen: np.ndarray) -> Blocks:
        """Return the chosen rows (indices or mask)."""
        return Blocks(self.sensors, self.rows[chosen])

    def of_sensors(self, names: Sequence[str]) -> Blocks:
        """Return the blocks with only these sensors, in this order.

        Raises:
            ValueError: a sensor that the blocks do not have.
        """
        if tuple(names) == self.sensors:
            return self
        parts = [self.rows[:, : len(COMMON)]]
        for name in names:
            start = len(COMMON) + self.sensors.index(name) * SENSOR_WIDTH
            parts.append(self.rows[:, start : start + SENSOR_WIDTH])
        return Blocks(tuple(names), np.concatenate(parts, axis=1))


def pack_row(blocks: Blocks, index: int) -> bytes:
    """Return one block as it is stored: a small header and the float32 row, little endian."""
    row = np.ascontiguousarray(blocks.rows[index], dtype="<f4")
    return _HEADER.pack(BLOCK_VERSION, len(blocks.sensors), len(row)) + row.tobytes()


def unpack_rows(packed: Sequence[bytes], sensors: tuple[str, ...]) -> Blocks:
    """Read stored blocks back.

    Raises:
        ArtefactRefused: another version of the layout, or another number of sensors.
    """
    width = block_width(len(sensors))
    expected = (BLOCK_VERSION, len(sensors), width)
    for blob in packed:
        found = _HEADER.unpack_from(blob) if len(blob) >= _HEADER.size else ()
        if found != expected or len(blob) != _HEADER.size + 4 * width:
            raise ArtefactRefused(
                f"stored block has (version, sensors, columns) {found}; this release reads {expected}"
            )
    rows = np.frombuffer(b"".join(blob[_HEADER.size :] for blob in packed), dtype="<f4")
    return Blocks(sensors, rows.reshape(len(packed), width))


__all__ = [
    "BLOCK_VERSION", "COMMON", "IMPLAUSIBLE", "MISSING", "PER_SENSOR", "PER_WITNESS", "PRESENT", "SENSOR_WIDTH",
    "WITNESSES", "Blocks", "block_width", "pack_row", "unpack_rows",
]  # fmt: skip
