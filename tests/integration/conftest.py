"""A keyspace for each module, and the application on it with its clock stopped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from core.settings import Settings
from local_stack.servers.stack import Stack
from storage.driver.session import Store, StoreConfig, connect
from tests.integration.api_plant import application, plant_settings


@pytest.fixture(scope="module")
def plant(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a keyspace with empty tables."""
    return plant_settings(stack, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def store(plant: Settings) -> Iterator[Store]:
    """An open store in that keyspace."""
    opened = connect(StoreConfig.from_settings(plant))
    yield opened
    opened.close()


@pytest.fixture
def api(plant: Settings) -> Iterator[FlaskClient]:
    """The application, asked without a server between."""
    with application(plant) as app:
        yield app.test_client()
