"""Every command: its name, the module that declares it, and one line of help.

A module is imported when its command is called. So the help stands here too; a test compares it with the module's.
"""

from __future__ import annotations

import importlib
from typing import NamedTuple

from core.process import Command


class Entry(NamedTuple):
    """Where a command is declared.

    Args:
        module: has it as `COMMAND`, or among its `COMMANDS`.
        help: one line.
        declared: its name there, where that is another one.
    """

    module: str
    help: str
    declared: str = ""


BY_HAND = {
    "run": Entry("local_stack.__main__", "start everything: servers, model, stream, stations, API, until Ctrl-C"),
    "monitor": Entry("local_stack.__main__", "Prometheus and Alertmanager beside a running stack; Ctrl-C stops them"),
    "up": Entry("local_stack.__main__", "start both servers, wait until they answer, create the topics"),
    "down": Entry("local_stack.__main__", "stop both servers, and everything that `run` started"),
    "status": Entry("local_stack.__main__", "say what runs, where and in how much memory"),
    "logs": Entry("local_stack.__main__", "print the last lines of the logs"),
    "reset": Entry("local_stack.__main__", "stop everything, delete the servers' data and the checkpoint"),
    "train": Entry("models.train", "train a model from a history and register it"),
    "backtest": Entry("models.backtest", "judge a history as the stream would have"),
    "history": Entry("iot_simulator.__main__", "write a labelled file of what stations would have sent"),
    "replay": Entry("iot_simulator.__main__", "publish a recorded CSV or Parquet file"),
    "topics": Entry("local_stack.servers.topics_command", "create the topics that are missing, on any broker"),
    "schema": Entry("storage.__main__", "create the keyspace and bring its tables up to date"),
    "copy-judging": Entry("storage.__main__", "copy what judges readings to another keyspace"),
    "maintenance": Entry("storage.__main__", "times of a station that no training learns from"),
    "tokens": Entry("api.security.token_command", "make, list and revoke tokens of the API"),
    "checkpoint": Entry("spark_jobs.driver.checkpoint", "check or repair the stream's checkpoint"),
    "settings": Entry("core.settings_table", "print every setting with its default"),
}
SERVICES = {
    "stream": Entry("spark_jobs.detect_anomalies", "judge readings: Kafka to Cassandra"),
    "api": Entry("api.__main__", "serve the API and the page"),
    "alarms": Entry("alarms.__main__", "keep the alarms and notify Alertmanager"),
    "retrainer": Entry("models.retraining.retrainer", "carry out jobs and look for drift"),
    "levels": Entry("spark_jobs.plant_levels.__main__", "serve the plant's levels to Prometheus, without Spark"),
    "simulator": Entry("iot_simulator.__main__", "stations in real time (the default)", "run"),
}
ENTRIES = BY_HAND | SERVICES


def load(name: str) -> Command:
    """Import the module of a command and return it."""
    entry = ENTRIES[name]
    module = importlib.import_module(entry.module)
    commands = getattr(module, "COMMANDS", None) or (module.COMMAND,)
    return next(command for command in commands if command.name == (entry.declared or name))
