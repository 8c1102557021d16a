"""Finding the library of native kernels, and what is said when it is of no use."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from local_backend.errors import NativeLibraryError
from local_backend.kernels import native_library
from local_backend.kernels.native_library import (
    LIBRARY_PATH,
    NativeLibraryWarning,
    load_native,
    open_native,
)

built = pytest.mark.skipif(not LIBRARY_PATH.exists(), reason="the CPU kernels are not built")


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "c++")) is None, reason="no C++ compiler")
def test_where_a_compiler_is_the_kernels_are_built() -> None:
    """Without this, every test of a kernel could be skipped and nobody would know."""
    library = load_native()
    assert library is not None, "run `make native`"
    assert library.isas[-1] == "portable"


@built
def test_every_usable_instruction_set_makes_kernels() -> None:
    library = open_native()
    for isa in library.isas:
        kernels = library.functions.deepseek_create(isa.encode(), 1)
        assert kernels
        library.functions.deepseek_destroy(kernels)
    assert library.functions.deepseek_create(b"z80", 1) is None


def test_no_library_is_no_error_until_it_is_asked_for(tmp_path: Path) -> None:
    absent = tmp_path / "_native.so"
    assert load_native(absent) is None
    with pytest.raises(NativeLibraryError, match="not built") as caught:
        open_native(absent)
    assert str(absent) in str(caught.value)
    assert "g++" in caught.value.help_message


def test_a_damaged_library_is_named(tmp_path: Path) -> None:
    damaged = tmp_path / "_native.so"
    damaged.write_bytes(b"\x7fELF and no more")
    with pytest.raises(NativeLibraryError, match="cannot be loaded"):
        open_native(damaged)
    with pytest.warns(NativeLibraryWarning, match="cannot be loaded"):
        assert load_native(damaged) is None


@built
def test_a_library_of_another_version_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(native_library, "ABI_VERSION", 999)
    with pytest.warns(NativeLibraryWarning, match=r"out of date.*needs 999"):
        assert load_native() is None


@built
def test_a_library_that_lacks_a_function_is_refused(monkeypatch) -> None:
    monkeypatch.setitem(native_library.SIGNATURES, "deepseek_tomorrow", (None, ()))
    with pytest.raises(NativeLibraryError, match=r"out of date.*deepseek_tomorrow"):
        open_native()


@built
def test_a_library_with_nothing_for_this_processor_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(native_library, "_usable_isas", lambda functions: iter(()))
    with pytest.raises(NativeLibraryError, match="no kernels for this processor"):
        open_native()
