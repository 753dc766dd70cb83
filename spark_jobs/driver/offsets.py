"""How far a batch reaches, from Spark's own write-ahead log in the checkpoint."""

from __future__ import annotations

import json

from core.errors import StateRefused
from spark_jobs.driver.checkpoint import Folder
from spark_jobs.tasks.activations import Offsets


def batch_ends(folder: Folder, batch_id: int, topic: str) -> Offsets:
    """Return the first offset behind a batch, partition by partition.

    Spark writes `offsets/<batch>` before the batch runs; its last line is the only source's offsets.

    Raises:
        StateRefused: the file is not there or not of the known form.
    """
    data = folder.read(f"offsets/{batch_id}")
    try:
        source = json.loads((data or b"").decode().splitlines()[-1])
        return {int(partition): int(offset) for partition, offset in source[topic].items()}
    except (IndexError, KeyError, ValueError, AttributeError) as error:
        raise StateRefused(f"checkpoint offsets/{batch_id} does not name the offsets of {topic}: {data!r}") from error
