"""A save that is killed, or fails, leaves the old file or the new one: never a mixture, never a temporary."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepseek_apps import SettingsError
from deepseek_apps._config_file import read_config, write_config_value

SAVE_FOR_EVER = """
import sys
from pathlib import Path
from deepseek_apps._config_file import write_config_value
print("ready", flush=True)
while True:
    for model in ("a" * 200_000, "b" * 200_000):
        write_config_value(Path(sys.argv[1]), "model", model)
"""


def test_a_killed_save_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("timeout = 5\n")
    for pause in (0.0, 0.01, 0.03):
        process = subprocess.Popen([sys.executable, "-c", SAVE_FOR_EVER, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process, process.stdout:
            process.stdout.readline()
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
        values = read_config(path)
        assert values["timeout"] == 5
        assert values.get("model", "a" * 200_000) in {"a" * 200_000, "b" * 200_000}


def test_a_failed_write_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    path.write_text("timeout = 5\n")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SettingsError, match="No space left"):
        write_config_value(path, "timeout", 6.0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]
    assert path.read_text() == "timeout = 5\n"


def test_a_value_over_several_lines_is_left_to_the_user(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('model = """\na\n"""\n')
    with pytest.raises(SettingsError, match="safely"):
        write_config_value(path, "model", "b")
    assert path.read_text() == 'model = """\na\n"""\n'


def test_a_file_that_is_not_text_is_a_settings_error(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot read"):
        read_config(path)
