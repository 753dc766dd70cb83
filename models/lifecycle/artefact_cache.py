"""The last champion's bytes on local disk, for a start while the registry is away."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from models.detection.artefact import sha256_of
from models.lifecycle.registry import Version

_POINTER = "champion.json"


class ArtefactCache:
    """Artefacts in a folder, by their sha256; what does not match its name any more is as good as absent.

    The folder belongs to the process that judges. Safe against a crash at any moment: files appear whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remember(self, version: Version, data: bytes) -> None:
        """Keep these bytes as the last good champion, and forget the one before.

        Raises:
            OSError: the folder cannot be written.
            ValueError: the bytes are not that version's.
        """
        if sha256_of(data) != version.sha256:
            raise ValueError(f"the bytes have sha256 {sha256_of(data)}, version {version.number} has {version.sha256}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write(f"{version.sha256}.zip", data)
        self._write(_POINTER, json.dumps(asdict(version)).encode())
        for path in self.folder.glob("*.zip"):
            if path.stem != version.sha256:
                path.unlink(missing_ok=True)

    def last_champion(self) -> tuple[Version, bytes] | None:
        """Return the last good champion, None when there is none or it is damaged."""
        with suppress(OSError, ValueError, TypeError):
            version = Version(**json.loads((self.folder / _POINTER).read_bytes()))
            data = (self.folder / f"{version.sha256}.zip").read_bytes()
            if sha256_of(data) == version.sha256:
                return version, data
        return None

    def _write(self, name: str, data: bytes) -> None:
        handle, unfinished = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(unfinished).replace(self.folder / name)
        except OSError:
            Path(unfinished).unlink(missing_ok=True)
            raise
