"""Why a broker does not answer: the client says so in its log only, and raises a timeout."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import BrokerRefused, BrokerUnavailable, StationwatchError

CLIENT = "kafka.net.manager"
"""The logger of kafka-python that says why no broker could be opened."""

_MOST_LINES = 50


@contextmanager
def overheard(logger_name: str = CLIENT) -> Iterator[list[str]]:
    """Collect what a library warns of inside the block, also where its log is shut; it is logged as before.

    Args:
        logger_name: of the very logger that speaks; its children are not heard.
    """
    logger, heard = logging.getLogger(logger_name), list[str]()
    level, shown = logger.level, logger.getEffectiveLevel()

    def note(record: logging.LogRecord) -> bool:
        if len(heard) < _MOST_LINES:
            heard.append(record.getMessage())
        return record.levelno >= shown

    logger.addFilter(note)
    logger.setLevel(min(shown, logging.WARNING))
    try:
        yield heard
    finally:
        logger.setLevel(level)
        logger.removeFilter(note)


def broker_error(where: str, error: Exception, heard: list[str]) -> StationwatchError:
    """Return what to raise for a client that could not be opened.

    Args:
        where: the brokers.
        error: of the client.
        heard: what it warned of meanwhile.

    Returns:
        BrokerRefused, naming the settings, when waiting would not help; else BrokerUnavailable.
    """
    login = "STATIONWATCH_KAFKA_USER or what STATIONWATCH_KAFKA_PASSWORD_FILE holds"
    for line in heard:
        if "SaslAuthenticationFailed" in line:
            return BrokerRefused(f"Kafka at {where} refuses {login}: {line}")
        if "CERTIFICATE_VERIFY_FAILED" in line:
            sentence = "shows a certificate that STATIONWATCH_KAFKA_CA_FILE does not vouch for"
            return BrokerRefused(f"Kafka at {where} {sentence}: {line}")
    if any("socket disconnected" in line for line in heard):
        # The client drops the broker's answer when the end of the connection comes with it.
        return BrokerUnavailable(
            f"Kafka at {where} closes the connection: STATIONWATCH_KAFKA_SECURITY_PROTOCOL is not its own, or it "
            f"refuses {login}, or it is about to stop"
        )
    return BrokerUnavailable(f"Kafka at {where} does not answer: {error!r}")
