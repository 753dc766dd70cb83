"""`compiled`: an import never fails for want of a cache, and a cache never changes or breaks a call."""

from __future__ import annotations

import errno
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from models.kernels import jit

pytest.importorskip("numba", reason="these tests are about numba's cache: pip install numba")
from numba.core import caching  # noqa: E402

SOURCE = """
from models.kernels.jit import compiled

@compiled()
def mean(values):
    total = values.dtype.type(0)
    for value in values:
        total += value
    return total / values.size
"""

Import = Callable[[], Any]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Import the source above anew, as another process would; caches go below `tmp_path` only."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "kernel.py").write_text(SOURCE)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))

    def imported() -> Any:
        spec = importlib.util.spec_from_file_location("kernel_under_test", package / "kernel.py")
        assert spec is not None and spec.loader is not None
        module: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.mean

    return imported


def only_writable(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    """Make every folder but one read-only, for root too, in the place where numba looks."""
    check = caching._CacheLocator.ensure_cache_path

    def ensure(locator: Any) -> None:
        if folder is None or not Path(locator.get_cache_path()).is_relative_to(folder):
            raise PermissionError(errno.EACCES, "read-only", locator.get_cache_path())
        check(locator)

    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", ensure)


def hits(function: Any) -> int:
    return sum(function.stats.cache_hits.values())


def hits_after_a_call(kernel: Import) -> int:
    function = kernel()
    assert function(np.ones(3)) == 1.0
    return hits(function)


def test_a_second_start_takes_the_code_from_the_cache(kernel: Import) -> None:
    """Broken when each process of the stream compiles for itself."""
    first = kernel()
    assert first(np.ones(3)) == 1.0
    second = kernel()
    assert second(np.ones(3)) == 1.0
    assert (hits(first), hits(second)) == (0, 1)
    assert Path(second.stats.cache_path).name == "__pycache__"


def test_a_changed_kernel_is_compiled_anew(kernel: Import, tmp_path: Path) -> None:
    """Broken when a release runs the machine code of another one, whose kernels called other functions."""
    assert kernel()(np.ones(3)) == 1.0
    (tmp_path / "package" / "readme.txt").write_text("nothing that is compiled")
    jit._stamp.cache_clear()  # as in another process
    assert hits_after_a_call(kernel) == 1
    for content in ("GAIN = 1.0", "GAIN = 2.0"):
        (tmp_path / "package" / "witness_kernel.py").write_text(content)
        jit._stamp.cache_clear()
        assert hits_after_a_call(kernel) == 0
        assert hits_after_a_call(kernel) == 1


def test_another_wheel_has_another_stamp(tmp_path: Path) -> None:
    """Broken when executors, whose code comes in a wheel, run the machine code of the release before."""
    stamps = []
    for content in (b"one release", b"the next"):
        (tmp_path / "release.whl").write_bytes(content)
        jit._stamp.cache_clear()
        stamps.append(jit._stamp(tmp_path / "release.whl" / "models" / "detection" / "kernel.py"))
    assert stamps[0] != stamps[1]


def test_read_only_folders_fall_back_to_a_private_temp_folder(
    kernel: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken when a read-only package and home make the import fail."""
    only_writable(monkeypatch, tmp_path / "temp")
    first, second = kernel(), kernel()
    assert first(np.ones(3)) == second(np.ones(3)) == 1.0
    assert hits(second) == 1
    (folder,) = (tmp_path / "temp").iterdir()
    assert Path(second.stats.cache_path).is_relative_to(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert caching.config.CACHE_DIR == ""


def test_with_nothing_writable_each_process_compiles(kernel: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken when a container without any writable folder cannot import."""
    only_writable(monkeypatch, None)
    first = kernel()
    assert first(np.ones(3)) == 1.0
    assert first.stats.cache_path is None


def test_a_temp_folder_that_others_can_write_is_not_used(
    kernel: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken when another user of the machine could plant code in our cache."""
    only_writable(monkeypatch, tmp_path / "temp")
    folder = jit._private_temp_folder()
    folder.chmod(0o777)
    assert kernel().stats.cache_path is None
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    assert kernel().stats.cache_path is None


def test_a_full_disk_costs_no_call(kernel: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken when saving the machine code can fail the batch that needed it."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    assert kernel()(np.ones(3)) == 1.0


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("content", [b"", b"\x00garbage", b"\x80\x05cno_such_module\nname\n."])
def test_a_damaged_cache_is_replaced(kernel: Import, tmp_path: Path, suffix: str, content: bytes) -> None:
    """Broken when a power cut that left an empty file stops every later start."""
    assert kernel()(np.ones(3)) == 1.0
    (damaged,) = tmp_path.rglob(f"*{suffix}")
    damaged.write_bytes(content)
    second = kernel()
    assert second(np.ones(3)) == 1.0
    assert hits(second) == 0
    third = kernel()
    assert third(np.ones(3)) == 1.0
    assert hits(third) == 1


def test_division_by_zero_is_numpys_with_and_without_numba(kernel: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken when the two ways of running one function answer differently."""
    with_numba = kernel()
    monkeypatch.setattr(jit, "HAVE_NUMBA", False)
    without = kernel()
    assert not hasattr(without, "stats")
    with np.errstate(invalid="ignore"):
        for values in (np.empty(0), np.array([1e300, 1e300, -1e300]), np.array([0.1, 0.2, 0.3])):
            expected = np.float64(0) / np.float64(0) if values.size == 0 else without(values)
            np.testing.assert_array_equal(with_numba(values), expected)


RACER = """
import sys
sys.path.insert(0, {package!r})
import numpy as np
from kernel import mean
for kind in sys.argv[1:]:
    assert mean(np.full(5, 3, kind)) == 3, kind
print(sum(mean.stats.cache_hits.values()))
"""


def test_processes_that_compile_at_once_share_a_cache(tmp_path: Path, kernel: Import) -> None:
    """Broken when two of them give different machine code the same file name."""
    command = [sys.executable, "-c", RACER.format(package=str(tmp_path / "package"))]
    kinds = ["float64", "float32", "int64", "int32"]
    racing = [subprocess.Popen([*command, *kinds[turn:], *kinds[:turn]]) for turn in range(3)]  # noqa: S603
    try:
        assert [process.wait(timeout=300) for process in racing] == [0, 0, 0]
    finally:
        for process in racing:
            process.kill()
    after = subprocess.run([*command, *kinds], capture_output=True, check=True, timeout=300)  # noqa: S603
    assert int(after.stdout) == len(kinds)
