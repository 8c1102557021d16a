"""One `pip download` of one wheel as a child process that can be watched and stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from local_backend.errors import NetworkUnavailableError
from local_backend.store.disk import DISK_FULL_ERRNOS

__all__ = ["PipDownload"]

STOP_SECONDS = 5.0

# --only-binary: a source distribution would run code of the package just to name itself.
_OPTIONS = (
    "--no-deps",
    "--no-cache-dir",
    "--only-binary=:all:",
    "--no-input",
    "--disable-pip-version-check",
    "--progress-bar=off",
)


class PipDownload:
    """Downloads the wheel of requirement into folder, which it creates and owns.

    pip's temporary files are kept there too, so that they count against the right disk and go with it.
    """

    def __init__(self, requirement: str, folder: Path) -> None:
        self._requirement = requirement
        self._folder = folder
        self._wheels = folder / "wheel"
        self._log = folder / "pip.log"
        self._seen = 0
        temporary = folder / "tmp"
        temporary.mkdir(parents=True)
        environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
        command = [sys.executable, "-m", "pip", "download", *_OPTIONS, "-d", str(self._wheels), requirement]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - fixed program, name and version from our catalogue
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def wait(self, seconds: float) -> bool:
        """Wait up to seconds; return whether pip has ended."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def bytes_seen(self) -> int:
        """Return the size of the largest file so far: the wheel, or what there is of it. Never falls."""
        for directory, _, names in os.walk(self._folder):
            for name in names:
                with contextlib.suppress(OSError):  # pip renames and deletes while we look
                    self._seen = max(self._seen, (Path(directory) / name).stat().st_size)
        return self._seen

    def wheel(self) -> Path:
        """Return the downloaded wheel, once wait() has returned True.

        Raises:
            NetworkUnavailableError: pip failed; its own last error line is in the message.
            OSError: pip failed because the disk is full.
        """
        wheels = list(self._wheels.glob("*.whl"))
        if self._process.returncode == 0 and len(wheels) == 1:
            return wheels[0]
        output = self._log.read_text(encoding="utf-8", errors="replace")
        for code in DISK_FULL_ERRNOS:
            if f"[Errno {code}]" in output:
                raise OSError(code, os.strerror(code), str(self._folder))
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no output"]
        raise NetworkUnavailableError(
            f"pip download {self._requirement} (exit {self._process.returncode}): {errors[-1]}"
        )

    def stop(self) -> None:
        """End pip if it still runs and delete the folder; idempotent."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
