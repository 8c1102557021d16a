"""`cost estimate`: what it reads and prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from batch_server import batch_file, batch_line

from deepseek_apps.cli.estimate import estimate
from deepseek_apps.cli.failure import UsageError

MESSAGES = '[{"role": "user", "content": "What is a monad?"}]'


@pytest.fixture
def models_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Estimate a file of this name and content, and return what is said of each model."""

    def run(name: str, content: str, **options: Any) -> list[dict[str, Any]]:
        (tmp_path / name).write_text(content, encoding="utf-8")
        estimate(tmp_path / name, as_json=True, **options)
        return json.loads(capsys.readouterr().out)["models"]

    return run


def test_a_batch_file_is_estimated_for_the_models_it_names(tmp_path: Path, capsys) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(batch_file(2) + batch_line("x", model="deepseek-v4-pro"), encoding="utf-8")
    estimate(file)
    printed = capsys.readouterr()
    rows = [line.split()[:2] for line in printed.out.splitlines()]
    assert rows == [["model", "requests"], ["deepseek-flash", "2"], ["deepseek-v4-pro", "1"]]
    assert printed.err.startswith("now: ")
    assert "\nshared: " in printed.err


def test_models_can_be_compared(models_in) -> None:
    names = ["deepseek-v4-pro", "deepseek-flash"]
    rows = models_in("in.jsonl", batch_file(2), model=names)
    assert [(row["model"], row["requests"]) for row in rows] == [(name, 2) for name in names]


def test_a_prompt_is_estimated_for_every_hosted_model(models_in) -> None:
    text = models_in("prompt.txt", "What is a monad?")
    assert [row["model"] for row in text] == ["deepseek-flash", "deepseek-v4-pro"]
    assert text[0]["peak_usd"]["to"] == pytest.approx(2 * text[0]["off_peak_usd"]["to"])
    assert text == models_in("chat.json", MESSAGES)
    assert text == models_in("body.json", f'{{"messages": {MESSAGES}}}')


def test_answers_can_be_assumed_shorter(models_in) -> None:
    (row,) = models_in("prompt.txt", "Hi", model=["deepseek-flash"], answer_tokens=7)
    assert row["most_output_tokens"] == 7


@pytest.mark.parametrize(
    ("content", "reason"), [('{"messages": "hello"}', "messages is not a list"), ("[", "Expecting value")]
)
def test_what_is_no_list_of_messages_is_a_usage_error(models_in, content: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        models_in("chat.json", content)
