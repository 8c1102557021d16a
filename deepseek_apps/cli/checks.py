"""What `doctor` looks at that needs no model: Python, torch, processor, memory, settings. Prints nothing."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deepseek_apps.cli.failure import explain

__all__ = ["Check", "checked", "machine_checks", "settings_checks"]

INSTALL_LOCAL = "pip install 'deepseek-apps[local]'"
# Instruction sets that decide how fast the engine's matrix products are, in /proc/cpuinfo's spelling.
CPU_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx_vnni",
    "amx_tile",
    "asimd",
    "sve",
    "bf16",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the report.

    Attributes:
        name: What was looked at.
        status: ok, warn (works, but), fail (something needed is broken) or skip (not looked at).
        detail: What was found.
        next_step: What to do about it; empty when there is nothing to do.
    """

    name: str
    status: Literal["ok", "warn", "fail", "skip"]
    detail: str
    next_step: str = ""


def checked(name: str, look: Callable[[], Check]) -> Check:
    """Run one check; whatever it raises is a failed check, so that the others still run."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001  the report must be complete
        failure = explain(error)
        return Check(name=name, status="fail", detail=failure.message, next_step=failure.help_message)


def machine_checks() -> Iterator[Check]:
    """Look at Python, torch and the processor."""
    for name, look in (("python", _python), ("torch", _torch), ("cpu", _cpu)):
        yield checked(name, look)


def settings_checks() -> Iterator[Check]:
    """Look at the config file and the key."""
    for name, look in (("config", _config), ("api key", _api_key)):
        yield checked(name, look)


def _python() -> Check:
    detail = f"{platform.python_version()} ({sys.executable}) on {platform.system()} {platform.machine()}"
    return Check(name="python", status="ok", detail=detail)


def _torch() -> Check:
    try:
        import torch  # noqa: PLC0415  lazy: optional, and costs more than a second
    except ImportError:
        return Check(
            name="torch", status="warn", detail="not installed: no local backend", next_step=INSTALL_LOCAL
        )
    detail = f"{torch.__version__}, {torch.get_num_threads()} threads on {os.cpu_count()} processors"
    return Check(name="torch", status="ok", detail=detail)


def _cpu() -> Check:
    flags = _cpu_flags()
    found = [feature for feature in CPU_FEATURES if feature in flags]
    if not flags:
        return Check(name="cpu", status="skip", detail=f"{platform.machine()}, features not readable here")
    if "avx2" in flags or "asimd" in flags:
        return Check(name="cpu", status="ok", detail=" ".join(found))
    return Check(
        name="cpu",
        status="warn",
        detail=f"no avx2 ({' '.join(found) or 'no vector extensions that we use'})",
        next_step="Local answers will be slow; use --backend hosted or server.",
    )


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    lines = (line for line in text.splitlines() if line.lower().startswith(("flags", "features")))
    return set(next(lines, "").partition(":")[2].split())


def _config() -> Check:
    from deepseek_apps.settings import config_path, load_settings  # noqa: PLC0415  lazy: pydantic

    load_settings()
    path = config_path()
    return Check(
        name="config", status="ok", detail=f"{path}{'' if path.exists() else ' (not there, not needed)'}"
    )


def _api_key() -> Check:
    from deepseek_apps.settings import load_settings  # noqa: PLC0415  lazy: pydantic

    if load_settings().api_key is not None:
        return Check(name="api key", status="ok", detail="DEEPSEEK_API_KEY is set")
    return Check(
        name="api key",
        status="warn",
        detail="DEEPSEEK_API_KEY is not set: no hosted backend",
        next_step="Only needed for api.deepseek.com: export DEEPSEEK_API_KEY=…",
    )
