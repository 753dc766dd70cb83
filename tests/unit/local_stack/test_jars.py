"""Locks, the shared cache and what happens when a jar is not the locked one. No network: Ivy is replaced."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from local_stack.downloads import ivy
from local_stack.downloads import jars as shelf
from local_stack.downloads.coordinates import LOCKS, Coordinate
from local_stack.downloads.jars import LockedJar, read_lock, write_lock
from local_stack.errors import JarsRefused, StackError

PLAIN = Coordinate("org.example", "engine", "1.2")
NATIVE = Coordinate("org.example", "engine", "1.2", "linux-x86_64")
CONTENT = {PLAIN: b"plain", NATIVE: b"native"}


class FakeIvy:
    """Hands out `content` instead of asking a registry."""

    def __init__(self) -> None:
        self.content = dict(CONTENT)
        self.calls = 0
        self.failure: BaseException | None = None

    def download(
        self, coordinates: Iterable[Coordinate], folder: Path, on_jar: Callable[[], None]
    ) -> dict[Coordinate, Path]:
        """Stand in for `ivy.download`."""
        self.calls += 1
        if self.failure:
            raise self.failure
        found = {}
        for coordinate in coordinates:
            found[coordinate] = folder / f"download-{coordinate.file_name}"
            found[coordinate].write_bytes(self.content[coordinate])
            on_jar()
        return found


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeIvy:
    """A lock named `engine` of two jars, and a registry that has them."""
    fake = FakeIvy()
    monkeypatch.setattr(ivy, "download", fake.download)
    monkeypatch.setattr(shelf, "LOCK_FOLDER", tmp_path)
    entries = [LockedJar(jar, jar.file_name, hashlib.sha256(content).hexdigest()) for jar, content in CONTENT.items()]
    write_lock(tmp_path / "engine.lock", entries)
    return fake


@pytest.mark.parametrize("name", LOCKS)
def test_a_committed_lock_holds_its_roots_and_no_address(name: str) -> None:
    """Breaks when coordinates change without `python -m local_stack lock`, or when a lock names a registry."""
    lock = Path(shelf.__file__).parents[1] / "locks" / f"{name}.lock"
    locked = {str(jar.coordinate) for jar in read_lock(lock)}
    assert {root.coordinate for root in LOCKS[name]} <= locked
    assert "//" not in lock.read_text(encoding="utf-8")


def test_a_lock_reads_back_as_written(tmp_path: Path) -> None:
    """Breaks when a classifier is lost, by which a native jar would replace the plain one."""
    entries = [LockedJar(jar, jar.file_name, "0" * 64) for jar in sorted(CONTENT)]
    write_lock(tmp_path / "a.lock", entries)
    assert read_lock(tmp_path / "a.lock") == entries
    assert len({entry.file_name for entry in entries}) == 2


@pytest.mark.parametrize(
    "line", ["a:b:1 b-1.jar", "a:b b-1.jar " + "0" * 64, "a:b:1 ../b-1.jar " + "0" * 64, "a:b:1 b-1.jar abc"]
)
def test_a_bad_lock_line_is_named(tmp_path: Path, line: str) -> None:
    """Breaks when a torn or edited lock is half read, or may write outside the cache."""
    lock = tmp_path / "a.lock"
    lock.write_text(f"# head\n{line}\n", encoding="utf-8")
    with pytest.raises(StackError, match=r"a\.lock:2: expected"):
        read_lock(lock)


def test_jars_are_fetched_once_and_shared(registry: FakeIvy, tmp_path: Path) -> None:
    """Breaks when a second start downloads again."""
    first = shelf.jars("engine", tmp_path / "cache")
    assert shelf.jars("engine", tmp_path / "cache") == first
    assert registry.calls == 1
    assert [path.read_bytes() for path in first] == [CONTENT[jar] for jar in sorted(CONTENT)]


def test_two_at_once_download_once(registry: FakeIvy, tmp_path: Path) -> None:
    """Breaks when two test runs that start together fetch into one folder."""
    found: list[list[Path]] = []
    threads = [threading.Thread(target=lambda: found.append(shelf.jars("engine", tmp_path / "c"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 4
    assert registry.calls == 1


def test_a_download_that_differs_is_refused_and_kept(registry: FakeIvy, tmp_path: Path) -> None:
    """Breaks when a tampered jar is used, silently deleted, or found in the cache by the next start."""
    registry.content[NATIVE] = b"tampered"
    with pytest.raises(JarsRefused) as refusal:
        shelf.jars("engine", tmp_path / "cache")
    told = str(refusal.value)
    for part in (
        NATIVE.file_name,
        hashlib.sha256(CONTENT[NATIVE]).hexdigest(),
        hashlib.sha256(b"tampered").hexdigest(),
    ):
        assert part in told
    assert [path.read_bytes() for path in (tmp_path / "cache").rglob(NATIVE.file_name)] == [b"tampered"]
    registry.content[NATIVE] = CONTENT[NATIVE]
    assert len(shelf.jars("engine", tmp_path / "cache")) == 2


def test_a_jar_that_rots_in_the_cache_is_refused(registry: FakeIvy, tmp_path: Path) -> None:
    """Breaks when only downloads are verified."""
    path = shelf.jars("engine", tmp_path / "cache")[0]
    path.write_bytes(b"rotten")
    with pytest.raises(JarsRefused, match="delete the folder"):
        shelf.jars("engine", tmp_path / "cache")
    path.unlink()
    with pytest.raises(JarsRefused, match="got no file"):
        shelf.jars("engine", tmp_path / "cache")


def test_an_interrupted_download_leaves_nothing_behind(registry: FakeIvy, tmp_path: Path) -> None:
    """Breaks when Ctrl-C leaves a half-filled folder that the next start takes for whole."""
    registry.failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        shelf.jars("engine", tmp_path / "cache")
    assert [path for path in (tmp_path / "cache" / "jars").iterdir() if path.is_dir()] == []
    registry.failure = None
    assert len(shelf.jars("engine", tmp_path / "cache")) == 2


def test_another_lock_is_another_folder(registry: FakeIvy, tmp_path: Path) -> None:
    """Breaks when a checkout with newer jars overwrites those an older checkout runs on."""
    old = shelf.jars("engine", tmp_path / "cache")
    write_lock(tmp_path / "engine.lock", read_lock(tmp_path / "engine.lock")[:1])
    new = shelf.jars("engine", tmp_path / "cache")
    assert new[0].parent != old[0].parent
    assert all(path.exists() for path in old)
