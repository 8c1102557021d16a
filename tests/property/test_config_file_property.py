"""Whatever is written to the config file is read back, and nothing else in it changes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deepseek_apps._config_file import read_config, write_config_value

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SCALARS = TEXT | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.sampled_from(["model", "base_url", "timeout", "other-key"])


@given(st.lists(st.tuples(KEYS, SCALARS), max_size=6))
def test_the_file_holds_the_last_value_of_each_key(writes: list[tuple[str, str | int | float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_text('# kept\n"quoted" = [1, 2]\n[table] # kept too\nmodel = "inner"\n')
        expected = read_config(path)
        for key, value in writes:
            write_config_value(path, key, value)
            expected = expected | {key: value}
        assert read_config(path) == expected
        assert "# kept\n" in path.read_text()
