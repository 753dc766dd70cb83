"""pyspark's daemon with the stream's code in it: workers are forked from it ready to work.

Imports and compiled code, some 1.5 s of processor time, are loaded once instead of by each worker. What is loaded so is
set aside from the garbage collection that pyspark runs behind every task, which would walk through all of it: 80 ms.
Spark starts it by `spark.python.daemon.module`; see `spark_session.LOADED_DAEMON`.
"""

from __future__ import annotations

import gc
import json
import os

from core.logs import log_to_stderr

# pyspark loads nothing before it forks, because a thread that holds a lock at a fork leaves it locked in the child.
# So no library may start a thread here; a test counts them.
ALONE = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


def preload() -> None:
    """Import what the workers need and take some readings. The forest's code is loaded with the first forest."""
    os.environ.update(ALONE)
    log_to_stderr("WARNING")
    import numpy as np

    import spark_jobs.tasks.scoring_stage  # noqa: F401 - for the workers
    from core.reading import Validator
    from core.sensors import DEFAULT_SENSORS
    from models.scoring.batch_parser import FEW_RECORDS
    from models.scoring.detector import said_of
    from models.scoring.feature_block import WITNESSES
    from models.scoring.features import Reference, features
    from models.scoring.shard_state import ShardState
    from models.scoring.station_prior import neutral_prior
    from spark_jobs.tasks.state_operator import Records, binary, take_records

    names, zeros = tuple(sensor.name for sensor in DEFAULT_SENSORS), np.zeros(FEW_RECORDS, np.int64)
    reading = {"schema_version": 1, "station_id": "s", "event_time": "1970-01-01T00:00:00.000Z", "seq": 0}
    value = json.dumps(reading | dict.fromkeys(names, 1.0)).encode()
    keys, values = binary([b"s"] * FEW_RECORDS), binary([value] * FEW_RECORDS)
    # A record time above 0, so that a station row is due, with its open minutes.
    records = Records(zeros.astype(np.int32), zeros, zeros + 1, keys, values)
    shard = ShardState(DEFAULT_SENSORS, neutral_prior(names))
    blocks = take_records(shard, Validator(DEFAULT_SENSORS), records, flush=True).blocks
    features(blocks, Reference(names, np.zeros(len(names)), np.ones(len(names))))
    said_of(blocks, np.ones((len(names), len(WITNESSES))))
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    preload()
    from pyspark.daemon import manager

    manager()
