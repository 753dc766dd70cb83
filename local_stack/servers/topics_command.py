"""`python -m local_stack.servers.topics_command`: create the topics that are missing, on any broker."""

from __future__ import annotations

import sys
import time

from core.errors import BrokerRefused, BrokerUnavailable
from core.settings import settings_or_exit
from local_stack.servers.topics import create_topics

WAIT_SECONDS = 300.0


def main() -> int:
    """Create them; 0 when done, 1 with one sentence when the brokers refuse, or do not answer for five minutes."""
    settings = settings_or_exit()
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            for difference in create_topics(settings):
                print(difference)
        except BrokerUnavailable as error:
            if time.monotonic() > deadline:
                print(error, file=sys.stderr)
                return 1
            time.sleep(2.0)
        except BrokerRefused as error:
            print(error, file=sys.stderr)
            return 1
        else:
            print(f"topics are there at {settings.bootstrap_servers}")
            return 0


if __name__ == "__main__":
    sys.exit(main())
