"""Servers to measure, each a process on a free port of loopback: ours, and llama.cpp's."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

START_SECONDS = 600.0


class Served:
    """A running server; leaving it ends the process.

    Args:
        command: With the port in place of "{port}".

    Attributes:
        command: As it was started.
        port: On 127.0.0.1.

    Raises:
        SystemExit: It ended, or did not answer in ten minutes.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.port = free_port()
        self.command = [part.replace("{port}", str(self.port)) for part in command]
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Served:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise SystemExit(f"the server ended with {self._process.returncode}: {self.command!r}")
            if _answers(self.port):
                return
            time.sleep(0.1)
        raise SystemExit(f"the server did not answer: {self.command!r}")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request("GET", "/v1/models")
        return connection.getresponse().status == 200  # llama-server says 503 while it loads
    except OSError:
        return False
    finally:
        connection.close()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def our_server(model: str) -> list[str]:
    """Command of `deepseek-apps serve`."""
    program = Path(sys.executable).with_name("deepseek-apps")
    return [str(program), "serve", "--port", "{port}", "--model", model]


def llama_server(program: str, file: Path, slots: int, threads: int, context: int) -> list[str]:
    """Command of llama.cpp's server; it divides its cache among the slots."""
    size = ["--ctx-size", str(slots * context), "--parallel", str(slots), "--cont-batching"]
    each = ["--threads", str(threads), "--threads-batch", str(threads)]
    return [program, "--model", str(file), "--host", "127.0.0.1", "--port", "{port}", *size, *each]
