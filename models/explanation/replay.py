"""The verdict again, from what was stored: a block's bytes, the sensors and the model version that judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.sensors import Sensor
from models.explanation.verdict_document import verdict_documents
from models.scoring.detector import Detector
from models.scoring.feature_block import unpack_rows

# Scores are stored as they were computed; what is left is the order in which a compiler adds.
SCORE_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Replayed:
    """One verdict, computed again.

    Args:
        score, severity, flags: as in `Verdicts`.
        document: the explanation as JSON, see `explain`.
    """

    score: float
    severity: float
    flags: int
    document: bytes

    def equals(self, score: float, flags: int) -> bool:
        """Whether a stored verdict is this one."""
        return flags == self.flags and abs(score - self.score) <= SCORE_TOLERANCE


def replay(detector: Detector, block: bytes, catalogue: Sequence[Sensor]) -> Replayed:
    """Judge and explain a stored block again.

    Args:
        detector: the version that judged, whatever has been promoted since.
        block: as `pack_row` wrote it.
        catalogue: the stream's sensors, in the order they had when the block was written.

    Raises:
        ArtefactRefused: a block of another layout or of another number of sensors.
    """
    blocks = unpack_rows([block], tuple(sensor.name for sensor in catalogue))
    verdicts = detector.judge(blocks)
    (document,) = verdict_documents(detector, blocks, verdicts, catalogue)
    return Replayed(float(verdicts.score[0]), float(verdicts.severity[0]), int(verdicts.flags[0]), document)
