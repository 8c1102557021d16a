"""Find the library of native CPU kernels, check that it fits, and declare its functions.

The library lies beside its C++ sources (cpu/CMakeLists.txt puts it there). It may be absent: the package also
installs where no compiler is. Nothing is kept here; whoever needs the library holds on to what it was given.
"""

from __future__ import annotations

import ctypes
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from local_backend.errors import NativeLibraryError

__all__ = [
    "ABI_VERSION",
    "LIBRARY_PATH",
    "SIGNATURES",
    "NativeLibrary",
    "NativeLibraryWarning",
    "load_native",
    "open_native",
]

ABI_VERSION = 2  # kAbiVersion of api.cpp: both change when a signature, a struct or a weight layout does
LIBRARY_PATH = Path(__file__).with_name("cpu") / ("_native.dll" if sys.platform == "win32" else "_native.so")
INSTALL_AGAIN = (
    "pip install --force-reinstall --no-deps --no-cache-dir deepseek-apps (in a checkout: make native)"
)
BUILD_HELP = (
    "Slower kernels are used. To build these, install a C++20 compiler (GCC 11, Clang 14 or later;"
    f" Debian, Ubuntu: apt install g++), then {INSTALL_AGAIN}."
)
STALE_HELP = f"Slower kernels are used. Install again: {INSTALL_AGAIN}."

_int = ctypes.c_int
_int64 = ctypes.c_int64
_float = ctypes.c_float
_pointer = ctypes.c_void_p  # also takes the address of a tensor, and byref() of a struct
_text = ctypes.c_char_p
# Result and arguments of every function that api.cpp exports; a test compares them with it.
SIGNATURES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "deepseek_abi_version": (_int, ()),
    "deepseek_isa_name": (_text, (_int,)),
    "deepseek_isa_usable": (_int, (_text,)),
    "deepseek_create": (_pointer, (_text, _int)),
    "deepseek_destroy": (None, (_pointer,)),
    "deepseek_linear": (None, (_pointer, _pointer, _pointer, _int64, _pointer)),
    "deepseek_expand_rows": (None, (_pointer, _pointer, _pointer, _int64, _pointer)),
    "deepseek_feed_forward": (None, (_pointer, _pointer, _pointer, _pointer, _int64)),
    "deepseek_mixture": (None, (_pointer, _pointer, _pointer, _pointer, _int64, _pointer)),
    "deepseek_gqa_layer": (None, (_pointer, _pointer, _pointer, _pointer)),
    "deepseek_mla_layer": (None, (_pointer, _pointer, _pointer, _pointer)),
    "deepseek_gqa_attention": (
        None,
        (_pointer, _pointer, _pointer, _int64, _pointer, _int64, _int64, _float, _pointer),
    ),
    "deepseek_gqa_write": (
        None,
        (_pointer, _pointer, _pointer, _int64, _pointer, _int64, _pointer, _int64),
    ),
    "deepseek_gqa_read": (None, (_pointer, _pointer, _pointer, _int64, _pointer, _pointer)),
    "deepseek_latent_write": (None, (_pointer, _pointer, _pointer, _int64, _pointer, _pointer)),
    "deepseek_latent_read": (None, (_pointer, _pointer, _pointer, _int64, _pointer)),
    "deepseek_latent_attention": (
        None,
        (_pointer, _pointer, _pointer, _int64, _pointer, _int64, _float, _pointer),
    ),
    "deepseek_expanded_attention": (
        None,
        (_pointer, _pointer, _pointer, _int64, _pointer, _pointer, _int64, _float, _pointer),
    ),
    "deepseek_rms_norm": (None, (_pointer, _pointer, _int64, _int64, _pointer, _float, _pointer)),
    "deepseek_rotate": (
        None,
        (_pointer, _pointer, _int64, _int64, _int64, _int64, _pointer, _int64),
    ),
    "deepseek_silu_multiply": (None, (_pointer, _pointer, _pointer, _int64, _pointer)),
}


class NativeLibraryWarning(UserWarning):
    """A library of CPU kernels is there and cannot be used; slower kernels take its place."""


@dataclass(frozen=True, slots=True)
class NativeLibrary:
    """The loaded library.

    Attributes:
        functions: What api.cpp exports, with argument and result types declared (SIGNATURES).
        isas: Instruction sets that it holds kernels for and this processor has, best first.
    """

    functions: ctypes.CDLL
    isas: tuple[str, ...]


def load_native(path: Path = LIBRARY_PATH) -> NativeLibrary | None:
    """Return the library, or None where it is absent or of no use; `doctor` says why.

    Warns:
        NativeLibraryWarning: It is there, but stale, damaged, or made for another machine.
    """
    if not path.exists():
        return None
    try:
        return open_native(path)
    except NativeLibraryError as error:
        warnings.warn(f"{error} {error.help_message}", NativeLibraryWarning, stacklevel=2)
        return None


def open_native(path: Path = LIBRARY_PATH) -> NativeLibrary:
    """Return the library.

    Raises:
        NativeLibraryError: It is absent, cannot be loaded, is of another version than this code, or holds
            nothing for this processor.
    """
    if not path.exists():
        raise NativeLibraryError(f"the CPU kernels are not built: no {path}", help_message=BUILD_HELP)
    try:
        functions = ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeLibraryError(
            f"the CPU kernels cannot be loaded: {error}", help_message=STALE_HELP
        ) from error
    _declare(functions, path)
    isas = tuple(_usable_isas(functions))
    if not isas:
        raise NativeLibraryError(
            f"{path} has no kernels for this processor",
            help_message="Nothing to do: the torch kernels are used.",
        )
    return NativeLibrary(functions, isas)


def _declare(functions: ctypes.CDLL, path: Path) -> None:
    try:
        version = functions.deepseek_abi_version()
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(functions, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise NativeLibraryError(
            f"the CPU kernels are out of date: {error}", help_message=STALE_HELP
        ) from error
    if version != ABI_VERSION:
        raise NativeLibraryError(
            f"the CPU kernels are out of date: {path} has version {version}, this code needs {ABI_VERSION}",
            help_message=STALE_HELP,
        )


def _usable_isas(functions: ctypes.CDLL) -> Iterator[str]:
    n = 0
    while (name := functions.deepseek_isa_name(n)) is not None:
        if functions.deepseek_isa_usable(name):
            yield name.decode()
        n += 1
