"""The one place for numba: `compiled` turns a loop over numpy arrays into machine code.

What a compiled function may rely on:

- *Same results with and without numba.* No fastmath, no reordered sums, division by zero as numpy does it (inf or NaN,
  no error). Without numba, `compiled` returns the function as it is: correct and slow, so a caller that has a faster
  numpy way asks `HAVE_NUMBA`.
- *An import never fails for want of a cache.* The machine code is kept where numba looks first (`NUMBA_CACHE_DIR`, the
  package's `__pycache__`, the user's cache folder); where none of them can be written, in a private folder below the
  system's temp folder; where that is not possible either, nowhere, and each process compiles for itself. A full disk or
  a damaged cache file costs a compilation, never a call.
- *Many processes may start at once* on the same cache, also with different argument types or CPUs.
- *The GIL is released* while it runs, so it must not touch Python objects.

numba's own cache notices a change of the file a function stands in, not of compiled functions it calls elsewhere. This
one also follows the content of every file in the same folder, where functions that call each other stand together.
Give each function one set of argument types, because each further one is compiled at its first call.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pickle
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

try:
    import numba
    from numba.core import config as numba_config
    from numba.core.caching import FunctionCache, IndexDataCacheFile
except ImportError:
    HAVE_NUMBA = False
else:
    HAVE_NUMBA = True

P = ParamSpec("P")
R = TypeVar("R")

# What unpickling damaged bytes raises.
_DAMAGED = (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, ImportError, IndexError, KeyError)


def compiled(*, allocates: bool = False, **options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that numba compiles it at its first call, or loads it from the cache.

    Args:
        allocates: whether the function makes arrays, or calls one that does. One that does not runs without numba's
            runtime (`_nrt`, a name that is numba's own), which counts each array that is passed on or sliced: those
            counts are atomic, and were a fifth of the state step.
        options: further arguments of `numba.njit`, such as `inline="always"` or `boundscheck=True`.

    Returns:
        A decorator. Use it as `@compiled()`, on functions of a module only.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if not HAVE_NUMBA:
            return function
        njit: Any = numba.njit
        dispatcher = njit(**({"nogil": True, "error_model": "numpy", "_nrt": allocates} | options))(function)
        cache = _cache(function)
        if cache is not None:
            dispatcher._cache = cache
        return dispatcher  # type: ignore[no-any-return]

    return decorate


def _cache(function: Callable[..., object]) -> Any:
    """A cache for `function` that can be written: numba's choice, a private temp folder, or None."""
    with suppress(OSError, RuntimeError):
        return _ForgivingCache(function)
    with suppress(OSError, RuntimeError):
        config: Any = numba_config
        numba_choice = config.CACHE_DIR
        config.CACHE_DIR = str(_private_temp_folder())
        try:
            return _ForgivingCache(function)
        finally:
            config.CACHE_DIR = numba_choice
    return None


@cache
def _stamp(source: Path) -> str:
    """Digest of a source file, of the kernels beside it and of this one; of the whole wheel when it stands in one."""
    wheel = next((parent for parent in source.parents if parent.is_file()), None)
    if wheel is not None:
        return hashlib.sha256(wheel.read_bytes()).hexdigest()
    files = sorted({source, Path(__file__), *source.parent.glob("*.py")})
    return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.is_file())).hexdigest()


def _private_temp_folder() -> Path:
    """A folder below the temp folder that only this user can write, because whoever writes it runs code here.

    Raises:
        OSError: it cannot be made, or it is there and somebody else can write it.
    """
    folder = Path(tempfile.gettempdir()) / f"stationwatch-numba-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f"{folder} is not private to this user")
    return folder


if HAVE_NUMBA:

    class _ForgivingCache(FunctionCache):
        """numba's file cache, with a lock between writers and without errors.

        numba picks the name of a data file by reading an index: without the lock, two processes that compile different
        signatures at once may give both the same file, and a third would run the wrong code.
        """

        def __init__(self, function: Callable[..., object]) -> None:
            super().__init__(function)  # type: ignore[no-untyped-call]
            self._impl.locator.ensure_cache_path()
            source: Any = function.__code__.co_filename
            self._cache_file: Any = IndexDataCacheFile(  # type: ignore[no-untyped-call]
                cache_path=self._cache_path,
                filename_base=self._impl.filename_base,
                source_stamp=_stamp(Path(source)),
            )

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            """The cached code, or None when there is none or it cannot be read."""
            with suppress(OSError, *_DAMAGED):
                return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
            return None

        def save_overload(self, sig: Any, data: Any) -> None:
            """Keep the code for other processes where that is possible; a damaged index is begun anew."""
            with suppress(OSError), _locked(Path(self.cache_path)):
                try:
                    super().save_overload(sig, data)  # type: ignore[no-untyped-call]
                except _DAMAGED:
                    self.flush()  # type: ignore[no-untyped-call]
                    super().save_overload(sig, data)  # type: ignore[no-untyped-call]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's writer lock; the kernel frees it when its process dies."""
    with (folder / "stationwatch.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
