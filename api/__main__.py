"""`python -m api`: serve the API and the page until SIGTERM, which gunicorn handles: it ends the requests under way."""

from __future__ import annotations

import argparse
import logging
import sys
from functools import partial

from api.security.tokens import read_tokens
from api.server.gunicorn_server import Server
from core.process import DONE, Command, run_command, start


def serve(options: argparse.Namespace) -> int:
    """Check the settings, then serve."""
    # What the driver repeats `store_connection` says once.
    settings = start(quiet={"cassandra": logging.CRITICAL})
    if settings.api_tokens_file:
        read_tokens(settings.api_tokens_file)
    Server(settings).run()
    return DONE


COMMAND = Command("api", "serve the API and the page", serve, description=__doc__)
main = partial(run_command, COMMAND, "python -m api", __doc__)


if __name__ == "__main__":
    sys.exit(main())
