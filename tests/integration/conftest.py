"""A keyspace for each module, and the application on it with its clock stopped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from core.settings import Settings
from storage.driver.session import Store, StoreConfig, connect
from tests.integration.api_plant import application
from tests.keyspaces import Keyspaces


@pytest.fixture(scope="module")
def plant(keyspaces: Keyspaces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a keyspace with empty tables."""
    with keyspaces.lent(home=tmp_path_factory.mktemp("home"), api_shared_seconds=0) as settings:
        yield settings


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
