"""`python -m api`: serve until SIGTERM."""

from __future__ import annotations

import sys

from api.security.tokens import read_tokens
from api.server.gunicorn_server import Server
from api.server.logs import set_up_logging
from core.errors import SettingsError
from core.settings import settings_or_exit


def main() -> None:
    """Check the settings, then serve."""
    settings = settings_or_exit()
    set_up_logging(settings.log_level)
    try:
        if settings.api_tokens_file:
            read_tokens(settings.api_tokens_file)
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    Server(settings).run()


if __name__ == "__main__":
    main()
