"""Read the TOML config file, and change one line of it without touching the rest.

Knows TOML, not which keys there are: that is settings.py.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from pathlib import Path

from deepseek_apps.errors import SettingsError

__all__ = ["read_config", "write_config_value"]


def read_config(path: Path) -> dict[str, object]:
    """Return the file's keys; an absent file has none.

    Raises:
        SettingsError: The file cannot be read or is not TOML.
    """
    return _parse(_read_text(path), path)


def write_config_value(path: Path, key: str, value: str | int | float) -> None:
    """Set one top-level key; comments, order and all other keys stay as they are.

    The new text replaces the old in one rename, so a crash leaves one of the two, never a mixture.

    Raises:
        SettingsError: The file cannot be read, changed or written.
    """
    text = _read_text(path)
    before = _parse(text, path)
    changed = _with_value(text, key, f"{key} = {_toml_literal(value)}\n")
    if not _means(changed, before | {key: value}):
        raise SettingsError(f"cannot change {key} in {path} safely", help_message="Edit the file by hand.")
    try:
        _replace_file(path.resolve(), changed.encode())
    except (OSError, UnicodeEncodeError) as error:
        raise SettingsError(
            f"cannot write {path}: {error}",
            help_message="Check the value, the folder's permissions and disk space.",
        ) from error


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the path
        raise SettingsError(
            f"cannot read {path}: {error}",
            help_message="Fix the file, or point DEEPSEEK_APPS_CONFIG at another.",
        ) from error


def _parse(text: str, path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"{path} is not valid TOML: {error}", help_message="Fix that line, or delete the file."
        ) from error


def _means(text: str, expected: dict[str, object]) -> bool:
    try:
        return tomllib.loads(text) == expected
    except tomllib.TOMLDecodeError:
        return False


def _with_value(text: str, key: str, assignment: str) -> str:
    # Not splitlines(): it also splits at characters that are no line ends in TOML.
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    first_table = next((i for i, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    pattern = re.compile(rf"""\s*(["']?){re.escape(key)}\1\s*=""")
    for i, line in enumerate(lines[:first_table]):
        if pattern.match(line):
            return "".join([*lines[:i], assignment, *lines[i + 1 :]])
    head = lines[:first_table]
    if head and not head[-1].endswith("\n"):
        head[-1] += "\n"
    return "".join([*head, assignment, *lines[first_table:]])


def _toml_literal(value: str | int | float) -> str:
    """Write a scalar as TOML; a JSON string is one, but for the control character that JSON leaves."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _replace_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            Path(temporary).chmod(path.stat().st_mode & 0o777)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
