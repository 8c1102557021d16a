"""Programs that try to get out of the sandbox, or to take more than their share of this machine.

Each prints ESCAPED when it got what it was after. What can be seen from outside is looked at there as well.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recipes.code_agent.errors import UnsafePathError
from recipes.code_agent.sandbox import Completed, Sandbox

KEY = "sk-this-must-stay-outside"

# name -> Python that raises, prints something else, or prints ESCAPED
READING = {
    "the password file": "print('ESCAPED' if open('/etc/shadow').read() else '')",
    "users of this machine": "print('ESCAPED' if open('/etc/passwd').read() else '')",
    "root's home": "import os; print('ESCAPED' if os.listdir('/root') else '')",
    "any home": "import os; print('ESCAPED' if os.listdir('/home') != ['sandbox'] else '')",
    "temporary files of others": "import os; print('ESCAPED' if os.listdir('/tmp') else '')",
    "variable data": "import os; print('ESCAPED' if os.listdir('/var') else '')",
    "kernel objects": "import os; print('ESCAPED' if os.listdir('/sys') else '')",
    "other processes": (
        "import os; print('ESCAPED' if len([p for p in os.listdir('/proc') if p.isdigit()]) > 3 else '')"
    ),
    "our environment": f"import os; print('ESCAPED' if {KEY!r} in str(os.environ) else '')",
    "our environment by way of a parent": (
        "import glob\n"
        "for name in glob.glob('/proc/[0-9]*/environ'):\n"
        "    try: found = open(name).read()\n"
        "    except OSError: continue\n"
        f"    if {KEY!r} in found: print('ESCAPED')"
    ),
    "our command line": (
        "import glob\n"
        "for name in glob.glob('/proc/[0-9]*/cmdline'):\n"
        "    if 'py' + 'test' in open(name).read(): print('ESCAPED')"
    ),
    "another root by way of a parent": (
        "import os; print('ESCAPED' if os.path.exists('/proc/1/' + 'root/etc/shadow') else '')"
    ),
    "files that we have open": (
        "import os\n"
        "for fd in os.listdir('/proc/self/fd'):\n"
        "    if int(fd) > 3 and os.path.exists('/proc/self/fd/' + fd): print('ESCAPED')"
    ),
    "physical memory": "print('ESCAPED' if open('/dev/mem', 'rb').read(1) else '')",
    "disks": "import glob; print('ESCAPED' if glob.glob('/dev/[svn][dv]*') else '')",
    "kernel memory": "print('ESCAPED' if open('/proc/kcore', 'rb').read(1) else '')",
}
WRITING = {
    "programs of the system": "open('/usr/bin/x', 'w'); print('ESCAPED')",
    "the root folder": "open('/x', 'w'); print('ESCAPED')",
    "settings of the system": "open('/etc/x', 'w'); print('ESCAPED')",
    "kernel settings": "open('/proc/sys/kernel/core_pattern', 'w').write('|/x'); print('ESCAPED')",
    "the magic key": "open('/proc/sysrq-trigger', 'w').write('c'); print('ESCAPED')",
    "a device of its own": "import os, stat; os.mknod('d', 0o600 | stat.S_IFBLK, 1); print('ESCAPED')",
}
RIGHTS = {
    "root": "import os; os.setuid(0); print('ESCAPED')",
    "another group": "import os; os.setgid(0); print('ESCAPED')",
    "a set-user-id program": (
        "import os, shutil, subprocess\n"
        "su = shutil.which('su') or shutil.which('mount')\n"
        "out = subprocess.run([su, '-c', 'id -u'], capture_output=True, text=True, input='').stdout\n"
        "print('ESCAPED' if out.strip() == '0' else '')"
    ),
    "new privileges": (
        "text = open('/proc/self/status').read()\n"
        "print('' if 'NoNewPrivs:\\t1' in text and 'CapEff:\\t0000000000000000' in text else 'ESCAPED')"
    ),
    "a user namespace": (
        "import ctypes; print('ESCAPED' if ctypes.CDLL(None).unshare(0x10000000) == 0 else '')"
    ),
    "a mount namespace": (
        "import ctypes; print('ESCAPED' if ctypes.CDLL(None).unshare(0x00020000) == 0 else '')"
    ),
    "a mount": (
        "import ctypes\n"
        "done = ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None)\n"
        "print('ESCAPED' if done == 0 else '')"
    ),
    "a writable system": (
        "import ctypes\n"
        "done = ctypes.CDLL(None).mount(b'none', b'/usr', None, 32 | 4096, None)\n"
        "print('ESCAPED' if done == 0 else '')"
    ),
    "another root": "import os; os.chroot('/tmp'); print('ESCAPED')",
    "rights of the first process, by tracing it": (
        "import ctypes\n"
        "done = ctypes.CDLL(None).ptrace(16, 1, 0, 0)\n"
        "none = 'CapEff:\\t0000000000000000' in open('/proc/1/status').read()\n"
        "print('ESCAPED' if done == 0 and not none else '')"
    ),
    "another name for this machine": "import socket; socket.sethostname('x'); print('ESCAPED')",
    "another time": "import time; time.clock_settime(time.CLOCK_REALTIME, 0); print('ESCAPED')",
    "a restart": ("import ctypes; print('ESCAPED' if ctypes.CDLL(None).reboot(0x01234567) == 0 else '')"),
    "more priority": "import os; os.nice(-5); print('ESCAPED')",
    "higher limits": (
        "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (1 << 40, 1 << 40)); print('ESCAPED')"
    ),
}
NETWORK = {
    "an address": "import socket; socket.create_connection(('1.1.1.1', 443), 2); print('ESCAPED')",
    "a datagram": (
        "import socket; s = socket.socket(2, 2); s.sendto(b'x', ('1.1.1.1', 53)); print('ESCAPED')"
    ),
    "a raw packet": "import socket; socket.socket(2, 3, 1); print('ESCAPED')",
    "a name": "import socket; socket.getaddrinfo('example.com', 80); print('ESCAPED')",
    "another interface": (
        "import socket; print('ESCAPED' if [n for _, n in socket.if_nameindex() if n != 'lo'] else '')"
    ),
}


def run(sandbox: Sandbox, program: str, **options: float) -> Completed:
    return sandbox.run(["python3", "-c", program], **options)  # type: ignore[arg-type]


ALL = {"reading": READING, "writing": WRITING, "rights": RIGHTS, "network": NETWORK}


@pytest.mark.parametrize("attempts", ALL.values(), ids=ALL)
def test_what_is_not_given_cannot_be_had(
    sandbox: Sandbox, attempts: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", KEY)
    assert run(sandbox, "print('ESCAPED')").output == "ESCAPED\n", "attempts would not be noticed"
    escaped = {name for name, program in attempts.items() if "ESCAPED" in run(sandbox, program).output}
    assert escaped == set()


def test_a_server_of_this_machine_is_out_of_reach(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2); print('ESCAPED')"
        assert "refused" in run(sandbox, program).output


def test_an_abstract_socket_of_this_machine_is_out_of_reach(sandbox: Sandbox) -> None:
    name = f"deepseek-apps-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        program = f"import socket; socket.socket(1).connect('\\0{name}'); print('ESCAPED')"
        assert "refused" in run(sandbox, program).output


@pytest.mark.parametrize("target", ["/etc/passwd", "/etc", ".."])
def test_links_lead_nobody_out(sandbox: Sandbox, target: str) -> None:
    sandbox.run(["ln", "-s", target, "link"])
    for path in ("link", "link/passwd"):
        with pytest.raises((UnsafePathError, FileNotFoundError)):
            sandbox.workspace.read(path)
    with pytest.raises(UnsafePathError):
        sandbox.workspace.write("link/x", b"")
    assert sandbox.workspace.files() == []


def test_a_link_is_replaced_and_not_written_through(sandbox: Sandbox, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("as it was")
    sandbox.run(["ln", "-s", str(outside), "file"])
    sandbox.workspace.write("file", b"new")
    assert outside.read_text() == "as it was"
    assert sandbox.workspace.read("file") == b"new"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "", ".", "a\0b"])
def test_paths_out_of_the_workspace_are_refused(sandbox: Sandbox, path: str) -> None:
    with pytest.raises(UnsafePathError):
        sandbox.workspace.write(path, b"")
    with pytest.raises(UnsafePathError):
        sandbox.workspace.read(path)


def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(sandbox: Sandbox) -> None:
    sandbox.run(["mkfifo", "pipe"])
    with pytest.raises(UnsafePathError, match="no regular file"):
        sandbox.workspace.read("pipe")
    assert sandbox.workspace.files() == []


def test_forks_end(sandbox: Sandbox) -> None:
    program = (
        "import os, time\nfor i in range(1000):\n    if os.fork() == 0: time.sleep(30)\nprint('ESCAPED')"
    )
    found = run(sandbox, program, wall_seconds=5)
    assert "ESCAPED" not in found.output
    assert "BlockingIOError" in found.output


def test_a_fork_bomb_leaves_nothing_behind(sandbox: Sandbox) -> None:
    sandbox.run(["sh", "-c", "b() { b | b & }; b; sleep 30"], wall_seconds=2)
    assert run(sandbox, "print('well')").output == "well\n"


def test_threads_end(sandbox: Sandbox) -> None:
    program = (
        "import threading, time\n"
        "for i in range(1000): threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n"
        "print('ESCAPED')"
    )
    assert "can't start new thread" in run(sandbox, program, wall_seconds=5).output


def test_memory_ends(sandbox: Sandbox) -> None:
    found = run(sandbox, "x = bytearray(1 << 30); print('ESCAPED')")
    assert "ESCAPED" not in found.output
    assert found.stopped == "memory" or "MemoryError" in found.output


def test_memory_of_children_ends(sandbox: Sandbox) -> None:
    program = (
        "import os, time\n"
        "for i in range(8):\n"
        "    if os.fork() == 0:\n"
        "        x = bytearray(b'1') * (100 << 20); time.sleep(2); os._exit(0)\n"
        "done = [os.wait()[1] for i in range(8)]\n"
        "print('ESCAPED' if not any(done) else 'killed')"
    )
    found = run(sandbox, program)
    assert found.stopped == "memory" or "ESCAPED" not in found.output


def test_temporary_files_have_an_end(sandbox: Sandbox) -> None:
    found = sandbox.run(
        ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do head -c 60000000 /dev/zero > /tmp/$i; done"]
    )
    assert found.stopped == "memory" or "No space" in found.output


def test_one_file_has_an_end(sandbox: Sandbox) -> None:
    found = sandbox.run(["sh", "-c", "head -c 100000000 /dev/zero > big; ls -l big"])
    assert "File size limit" in found.output or "File too large" in found.output
    assert sandbox.workspace.size(1 << 40) <= 65 << 20


def test_the_disk_has_an_end(sandbox: Sandbox) -> None:
    script = "i=0; while true; do i=$((i+1)); head -c 20000000 /dev/zero > f$i; sleep 0.05; done"
    assert sandbox.run(["sh", "-c", script]).stopped == "disk"


def test_output_has_an_end(sandbox: Sandbox) -> None:
    found = sandbox.run(["yes"])
    assert found.stopped == "output"
    assert len(found.output) < 21_000
    assert "bytes left out" in found.output


def test_processor_time_has_an_end(sandbox: Sandbox) -> None:
    found = run(sandbox, "while True: pass")
    assert found.exit_code in (137, 152)
    assert found.seconds < 15


def test_what_will_not_end_is_ended(sandbox: Sandbox) -> None:
    program = (
        "import signal, time\n"
        "for s in range(1, 32):\n"
        "    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except OSError: pass\n"
        "time.sleep(60)"
    )
    found = run(sandbox, program, wall_seconds=1)
    assert (found.stopped, found.exit_code) == ("time", 137)
    assert found.seconds < 3


def test_daemons_end_with_their_command(sandbox: Sandbox) -> None:
    name = f"daemon-{os.getpid()}"
    program = (
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        f"    if os.fork() == 0: os.execvp('sh', ['sh', '-c', 'sleep 60; : {name}'])\n"
        "    os._exit(0)\n"
        "time.sleep(0.3)"
    )
    found = run(sandbox, program)
    assert (found.exit_code, found.stopped) == (0, None)
    assert not running(name)


@pytest.mark.parametrize("target", ["-1", "1", "0", "os.getppid()", str(os.getpid()), str(os.getppid())])
def test_signals_stay_inside(sandbox: Sandbox, target: str) -> None:
    run(sandbox, f"import os, signal; os.kill({target}, signal.SIGKILL)", wall_seconds=3)
    assert run(sandbox, "print('well')").output == "well\n"


def test_keys_typed_into_our_terminal_do_not_arrive(sandbox: Sandbox) -> None:
    program = "import fcntl, termios; fcntl.ioctl(open('/dev/tty'), termios.TIOCSTI, b'x'); print('ESCAPED')"
    assert "ESCAPED" not in run(sandbox, program).output


@pytest.mark.parametrize("moment", [None, 0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.5])
def test_the_parents_death_ends_everything(sandbox: Sandbox, moment: float | None) -> None:
    del sandbox  # only there to skip the test where there can be none
    name = f"orphan-{os.getpid()}-{moment}-"
    script = (
        "from recipes.code_agent.sandbox import Sandbox\n"
        "with Sandbox() as sandbox:\n"
        "    print('started', flush=True)\n"
        f"    sandbox.run(['sh', '-c', 'while :; do sleep 1; done; : {name}'])\n"
    )
    root = Path(__file__).parents[4]
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    if moment is not None:
        time.sleep(moment)
    else:
        wait_until(lambda: running(name))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not running(name))


def running(name: str) -> bool:
    """Whether a process of this machine has the name in its command line, our own and the test's aside."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if name.encode() in line and b"recipes.code_agent" not in line:
            return True
    return False


def wait_until(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)
