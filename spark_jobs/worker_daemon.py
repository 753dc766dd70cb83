"""pyspark's daemon with the stream's code in it: workers are forked from it ready to work.

Imports and compiled code, some 1.5 s of processor time, are loaded once instead of by each worker. What is loaded so is
set aside from the garbage collection that pyspark runs behind every task, which would walk through all of it: 80 ms.
Spark starts it by `spark.python.daemon.module`; see `session.LOADED_DAEMON`.
"""

from __future__ import annotations

import gc
import os

# pyspark loads nothing before it forks, because a thread that holds a lock at a fork leaves it locked in the child.
# So no library may start a thread here; a test counts them.
ALONE = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


def preload() -> None:
    """Import what the workers need and run the state step once. Scoring loads its own code with the first forest."""
    os.environ.update(ALONE)
    import numpy as np

    import spark_jobs.scoring
    import spark_jobs.state_operator  # noqa: F401 - for the workers
    from models.detection.prior import neutral_prior
    from models.detection.sensors import DEFAULT_SENSORS
    from models.detection.state import Incoming, ShardState

    nothing, values = np.zeros(1, np.int64), np.zeros((1, len(DEFAULT_SENSORS)))
    shard = ShardState(DEFAULT_SENSORS, neutral_prior(tuple(sensor.name for sensor in DEFAULT_SENSORS)))
    shard.take(Incoming(["station"], nothing, nothing, nothing, values))
    shard.open_minutes(np.zeros(1, np.int64))
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    preload()
    from pyspark.daemon import manager

    manager()
