"""The daemon that Spark's Python workers are forked from."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import gc, os, sys
from spark_jobs.driver.worker_daemon import preload
preload()
loaded = "spark_jobs.tasks.scoring_stage" in sys.modules
print(len(os.listdir("/proc/self/task")), gc.get_freeze_count() > 50_000, loaded)
"""


def test_it_loads_everything_without_starting_a_thread() -> None:
    """Breaks when a library starts a thread before the fork: workers could hang in a lock that nobody gives back."""
    ran = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, timeout=240, check=True)
    assert ran.stdout.split() == ["1", "True", "True"]
