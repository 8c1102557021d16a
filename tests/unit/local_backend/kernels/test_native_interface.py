"""What Python declares of the native library is what its C++ sources say: functions, structs, version.

ctypes believes its declarations; one that has fallen behind would corrupt memory instead of failing.
"""

from __future__ import annotations

import ctypes
import inspect
import re
from pathlib import Path

import pytest

from local_backend.kernels import native_structs
from local_backend.kernels.native_library import ABI_VERSION, LIBRARY_PATH, SIGNATURES

SOURCES = LIBRARY_PATH.parent
STRUCTS = {
    name: struct
    for name, struct in vars(native_structs).items()
    if inspect.isclass(struct) and issubclass(struct, ctypes.Structure)
}
C_TYPES = {
    "void": None,
    "int": ctypes.c_int,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "float": ctypes.c_float,
    "const char*": ctypes.c_char_p,
    **STRUCTS,
}


def without_comments(path: Path) -> str:
    return re.sub(r"//[^\n]*", "", path.read_text(encoding="utf-8"))


def c_type(text: str) -> type | None:
    name = " ".join(text.replace("*", "* ").split()).replace(" *", "*")
    return ctypes.c_void_p if name.endswith("*") and name != "const char*" else C_TYPES[name]


def exported() -> dict[str, tuple[type | None, tuple[type | None, ...]]]:
    functions = re.findall(
        r"^([\w ]+[ *]+)(deepseek_\w+)\(([^)]*)\)\s*\{", without_comments(SOURCES / "api.cpp"), re.MULTILINE
    )
    found = {}
    for result, name, parameters in functions:
        types = [re.sub(r"\w+$", "", parameter.strip()) for parameter in parameters.split(",")]
        found[name] = (c_type(result), tuple(c_type(kind) for kind in types if kind))
    return found


def fields(struct: str) -> list[tuple[str, type | None]]:
    text = "\n".join(without_comments(path) for path in sorted(SOURCES.glob("*.h")))
    body = re.search(rf"^struct {struct} \{{\n(.*?)^\}};", text, re.MULTILINE | re.DOTALL)
    assert body is not None, f"no struct {struct} in {SOURCES}"
    found = []
    for kind, names in re.findall(
        r"^  (?! )([\w ]+[ *]+)((?:\w+(?:\[\d+\])?(?:, )?)+);", body[1], re.MULTILINE
    ):
        for name, size in re.findall(r"(\w+)(?:\[(\d+)\])?", names):
            found.append((name, c_type(kind) * int(size) if size else c_type(kind)))
    return found


def test_every_exported_function_is_declared_as_it_is() -> None:
    assert exported() == SIGNATURES


def test_both_sides_have_one_version() -> None:
    assert f"kAbiVersion = {ABI_VERSION};" in (SOURCES / "api.cpp").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", STRUCTS)
def test_structs_have_the_fields_of_their_headers(name: str) -> None:
    assert list(STRUCTS[name]._fields_) == fields(name)
