"""One `run` for this folder: the tests of the monitor watch it, then those of the run itself stop it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.local_stack.run_plant import Run


@pytest.fixture(scope="session")
def live_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Eight stations with many faults; nothing of it is left at the end, whatever the tests did."""
    run = Run(tmp_path_factory.mktemp("live") / "home", stations=8, fault_rate=100)
    try:
        run.start()
        yield run
    finally:
        run.clear()
