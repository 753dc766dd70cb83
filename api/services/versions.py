"""Which MLflow run made which model version: asked once per version."""

from __future__ import annotations

import time
from collections.abc import Iterable

from storage.driver.session import Store
from storage.tables import artefacts

# An anomaly may name a version whose row was never written: not a reason to ask at every request.
_ASK_AGAIN_SECONDS = 5.0


class VersionCache:
    """Run ids by version. A version's row never changes, so what is known stays known."""

    def __init__(self) -> None:
        self._run_ids: dict[int, str] = {}
        self._asked = float("-inf")

    def run_ids(self, store: Store, name: str, versions: Iterable[int]) -> dict[int, str]:
        """Run ids of the model `name` by version; one that is not registered is absent.

        Raises:
            StoreUnavailable: Cassandra is away.
        """
        unknown = set(versions) - self._run_ids.keys()
        if unknown and time.monotonic() - self._asked > _ASK_AGAIN_SECONDS:
            self._run_ids = {row.version: row.run_id for row in artefacts.versions(store, name)}
            self._asked = time.monotonic()
        return self._run_ids
