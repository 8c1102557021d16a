"""docs/cli.md says what the commands say."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepseek_apps.cli.failure import ExitCode
from deepseek_apps.cli.reference import EXIT_TEXTS, reference

PAGE = Path(__file__).parents[4] / "docs" / "cli.md"


def test_the_page_is_current() -> None:
    current = PAGE.read_text(encoding="utf-8") == reference()
    assert current, "run: python -m deepseek_apps.cli.reference > docs/cli.md"


def test_every_exit_code_is_documented() -> None:
    assert set(EXIT_TEXTS) == set(ExitCode)


@pytest.mark.parametrize("verb", ["ask", "chat", "serve", "doctor", "models pull", "config set"])
def test_every_verb_has_help(cli, verb) -> None:
    result = cli(*verb.split(), "--help")
    assert result.code == 0
    assert f"deepseek-apps {verb}" in result.out
