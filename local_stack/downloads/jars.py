"""The jars of the servers and of Spark's Kafka source: locked by sha256, fetched once, shared by all checkouts."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from local_stack.downloads import ivy
from local_stack.downloads.coordinates import LOCKS, Coordinate
from local_stack.errors import JarsRefused, StackError

LOCK_FOLDER = Path(__file__).parents[1] / "locks"
_HEADER = "# Written by `python -m local_stack lock`: coordinate, file, sha256\n"


@dataclass(frozen=True, order=True)
class LockedJar:
    """One line of a lock."""

    coordinate: Coordinate
    file_name: str
    sha256: str


def spark_kafka_jars(cache: Path) -> list[Path]:
    """Return the jars of Spark's Kafka source that pyspark does not ship, fetching them once.

    Args:
        cache: `settings.cache`.

    Raises:
        StackError: the registry cannot be reached, or a jar is not the locked one.
    """
    return jars("spark-kafka", cache)


def jars(name: str, cache: Path) -> list[Path]:
    """Return the verified jars of lock `name`, in the lock's order, fetching them once.

    Safe for several processes at once: one downloads, the others wait for it.

    Args:
        name: a key of `coordinates.LOCKS`.
        cache: `settings.cache`; the jars are in its `jars` folder.

    Raises:
        JarsRefused: a jar is not the locked one.
        StackError: a lock that cannot be read, or a registry that cannot be reached.
    """
    lock = LOCK_FOLDER / f"{name}.lock"
    locked = read_lock(lock)
    fingerprint = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    shelf = cache.expanduser().resolve() / "jars"
    folder = shelf / f"{name}-{fingerprint}"
    shelf.mkdir(parents=True, exist_ok=True)
    with _only_one(shelf / f"{name}-{fingerprint}.lock"):
        if not folder.is_dir():
            _fetch(name, locked, folder)
    verify(folder, locked, f"delete the folder {folder} and start again to fetch it anew")
    return [folder / jar.file_name for jar in locked]


def read_lock(lock: Path) -> list[LockedJar]:
    """Read a lock.

    Raises:
        StackError: no such file, or a line that is not `coordinate file sha256`.
    """
    if not lock.is_file():
        raise StackError(f"no lock at {lock}: `python -m local_stack lock` writes it")
    entries = []
    for number, line in enumerate(lock.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            entries.append(_entry(line, f"{lock}:{number}"))
    return entries


def write_lock(lock: Path, entries: list[LockedJar]) -> None:
    """Write a lock, sorted, replacing the file in one step."""
    lines = [f"{entry.coordinate} {entry.file_name} {entry.sha256}\n" for entry in sorted(entries)]
    draft = lock.with_suffix(".draft")
    draft.write_text(_HEADER + "".join(lines), encoding="utf-8")
    draft.replace(lock)


def make_locks(say: Callable[[str], None]) -> None:
    """Resolve the roots of every lock anew and write the locks."""
    for name, roots in LOCKS.items():
        with tempfile.TemporaryDirectory() as scratch, _progress(f"{name}: resolving", None) as on_jar:
            found = ivy.resolve(roots, Path(scratch), on_jar)
            entries = [LockedJar(jar, path.name, sha256(path)) for jar, path in found.items()]
        doubled = {entry.file_name for entry in entries}
        if len(doubled) != len(entries):
            raise StackError(f"lock {name}: two coordinates share one file name; they cannot lie in one folder")
        write_lock(LOCK_FOLDER / f"{name}.lock", entries)
        say(f"{name}: {len(entries)} jars locked")


def verify(folder: Path, locked: list[LockedJar], advice: str) -> None:
    """Compare every locked jar in `folder` with its sha256.

    Raises:
        JarsRefused: one is missing or differs; nothing is deleted.
    """
    for jar in locked:
        path = folder / jar.file_name
        got = sha256(path) if path.is_file() else "no file"
        if got != jar.sha256:
            raise JarsRefused(f"{path} ({jar.coordinate}): expected sha256 {jar.sha256}, got {got}; {advice}")


def sha256(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(line: str, where: str) -> LockedJar:
    try:
        coordinate, file_name, digest = line.split()
        if len(digest) != 64 or Path(file_name).name != file_name:
            raise ValueError(line)
        return LockedJar(Coordinate.parse(coordinate), file_name, digest)
    except ValueError as error:
        raise StackError(
            f"{where}: expected `group:artifact:version[:classifier] file sha256`, got {line!r}; "
            "`python -m local_stack lock` writes the locks"
        ) from error


def _fetch(name: str, locked: list[LockedJar], folder: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    kept = scratch / "jars"
    kept.mkdir()
    try:
        with _progress(f"{name}: downloading jars", len(locked)) as on_jar:
            found = ivy.download([jar.coordinate for jar in locked], scratch, on_jar)
        for jar in locked:
            if jar.coordinate in found:
                found[jar.coordinate].rename(kept / jar.file_name)
        verify(
            kept, locked, "the download is kept there for a look; if the lock is wrong, `python -m local_stack lock`"
        )
    except JarsRefused:
        raise
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    kept.rename(folder)
    shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal; elsewhere a line at the start and a line every ten seconds."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=what, unit=" jars") as bar:
            yield lambda: bar.update() and None
        return
    lines = _ProgressLines(what, total)
    yield lines.one_more
    lines.show()


class _ProgressLines:
    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total, self._count, self._shown = what, total, 0, time.monotonic()
        print(f"{what} ...", file=sys.stderr, flush=True)

    def one_more(self) -> None:
        self._count += 1
        if time.monotonic() - self._shown > 10:
            self.show()

    def show(self) -> None:
        self._shown = time.monotonic()
        of_total = f" of {self._total}" if self._total else ""
        print(f"{self._what}: {self._count}{of_total}", file=sys.stderr, flush=True)
