"""The local servers, for real."""

from __future__ import annotations

import pytest

from local_stack.stack import Stack
from local_stack.topics import broker_answers, create_topics
from settings import Settings
from storage.ready import answers

pytestmark = pytest.mark.timeout(300)


def test_both_servers_answer_queries_and_their_topics_are_as_wanted(stack: Stack, settings: Settings) -> None:
    """Breaks when `up` returns before the servers serve, or creates topics with other settings than it asks for."""
    endpoints = stack.endpoints()
    assert broker_answers(endpoints.kafka, 10.0)
    assert answers("127.0.0.1", endpoints.cassandra_port, 10.0)
    assert create_topics(settings) == []
