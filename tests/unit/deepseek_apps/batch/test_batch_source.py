"""A batch's input is checked whole, and every bad line is named before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from batch_server import batch_file, batch_line

from deepseek_apps.batch import BatchInputError, read_source


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def line(**changes: Any) -> str:
    row = json.loads(batch_line("a")) | changes
    return json.dumps({name: value for name, value in row.items() if value is not None})


def test_a_file_is_read_in_order(tmp_path: Path) -> None:
    source = read_source(written(tmp_path, batch_file(3)))
    assert list(source.custom_ids) == ["r0", "r1", "r2"]
    assert source.read("r1").body["messages"][0]["content"] == "r1"
    assert (len(source), source.models) == (3, {"deepseek-flash": 3})


def test_blank_lines_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    source = read_source(
        written(tmp_path, "\ufeff" + batch_file(2).replace("\n", "\r\n\r\n") + batch_line("终"))
    )
    assert [request.custom_id for request in source.requests()] == ["r0", "r1", "终"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{", "not JSON: "),
        ("[1]", "not a JSON object"),
        ('{"custom_id": NaN}', "not JSON: NaN"),
        ("[" * 100_000, "not JSON: "),
        (line(custom_id=None), "custom_id is missing"),
        (line(custom_id=7), "custom_id is 7, not text"),
        (line(method="GET"), "method is 'GET'"),
        (line(url="/v1/embeddings"), "url is '/v1/embeddings', not one of"),
        (line(body=None), "body is missing"),
        (line(body=[]), "body is not a JSON object"),
        (line(body={"prompt": "x"}), "body has no messages"),
        (line(body={"messages": []}), "messages is not a list of messages"),
        (line(body={"messages": [{"content": "x"}]}), "message 1 has no role"),
        (line(url="/v1/completions"), "body has no prompt"),
        (batch_line("a", stream=True), "body asks for a stream"),
        (batch_line("a", temperature="\ud800"), "holds a lone surrogate"),
        (line(body={"messages": [{"role": "user"}], "model": 4}), "model is 4, not text"),
    ],
)
def test_a_line_that_cannot_be_sent_is_named(tmp_path: Path, bad: str, reason: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(f"{batch_line('ok')}\n{bad}\n", encoding="utf-8", errors="backslashreplace")
    with pytest.raises(BatchInputError, match="1 line cannot be sent") as caught:
        read_source(path)
    assert f"line 2: {reason}" in str(caught.value)


def test_a_surrogate_pair_is_text(tmp_path: Path) -> None:
    row = json.dumps(json.loads(batch_line("😀")))  # written as two escapes
    assert list(read_source(written(tmp_path, row)).custom_ids) == ["😀"]


def test_all_bad_lines_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(BatchInputError) as caught:
        read_source(written(tmp_path, "x\n" * 30 + batch_line("a")))
    assert "30 lines cannot be sent" in str(caught.value)
    assert "line 10: " in str(caught.value)
    assert str(caught.value).endswith("and 20 more")


def test_a_name_taken_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    with pytest.raises(BatchInputError, match="line 3: custom_id 'r0' is taken by line 1"):
        read_source(written(tmp_path, batch_file(2) + batch_file(1)))


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(BatchInputError, match="line 1: not UTF-8: byte 0xff at position 0"):
        read_source(written(tmp_path, b"\xff\xfe{}"))


@pytest.mark.parametrize(("content", "reason"), [("", "holds no request"), ("\n\n", "holds no request")])
def test_an_empty_file_is_no_batch(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(BatchInputError, match=reason):
        read_source(written(tmp_path, content))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BatchInputError, match=r"cannot read .*nothing\.jsonl: No such file"):
        read_source(tmp_path / "nothing.jsonl")


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, batch_file(2))
    source = read_source(path)
    written(tmp_path, batch_file(3)[5:])
    with pytest.raises(BatchInputError, match=r"has changed while the batch ran \(line 2\)"):
        source.read("r1")
