"""`python -m local_stack.servers.topics_command`: create the topics that are missing, on any broker."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial

from core.errors import BrokerUnavailable
from core.process import DONE, Command, run_command
from core.settings import load_settings
from local_stack.servers.topics import create_topics

WAIT_SECONDS = 300.0


def wait_for_topics(options: argparse.Namespace) -> int:
    """Create them.

    Raises:
        BrokerRefused: the brokers answer and refuse.
        BrokerUnavailable: they do not answer for five minutes.
    """
    settings = load_settings()
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            for difference in create_topics(settings):
                print(difference)
        except BrokerUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(2.0)
        else:
            print(f"topics are there at {settings.bootstrap_servers}")
            return DONE


COMMAND = Command("topics", "create the topics that are missing, on any broker", wait_for_topics, description=__doc__)
main = partial(run_command, COMMAND, "python -m local_stack.servers.topics_command", __doc__)


if __name__ == "__main__":
    sys.exit(main())
