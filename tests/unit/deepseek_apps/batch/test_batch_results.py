"""The output file: owned, locked, repaired, in order at the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from batch_server import batch_file

from deepseek_apps.batch import BatchInputError, BatchOutputError, BatchResults, BatchSource, read_source
from deepseek_apps.batch.result_lines import result_line


@pytest.fixture
def source(tmp_path: Path) -> BatchSource:
    path = tmp_path / "in.jsonl"
    path.write_text(batch_file(3), encoding="utf-8")
    return read_source(path)


def answer(name: str, text: str = "x") -> bytes:
    return result_line(name, status=200, request_id="t", body={"text": text}, error=None)


def failure(name: str, *, retryable: bool) -> bytes:
    error = {"code": "500", "message": "m", "retryable": retryable}
    return result_line(name, status=500, request_id="", body={}, error=error)


def names_in(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


def test_results_can_be_read_while_it_runs_and_are_in_order_at_the_end(
    tmp_path: Path, source: BatchSource
) -> None:
    target = tmp_path / "out.jsonl"
    with BatchResults(target, source) as results:
        for name in ("r2", "r0", "r1"):
            results.append([answer(name)])
        assert names_in(target) == ["r2", "r0", "r1"]
        results.finish()
    assert names_in(target) == ["r0", "r1", "r2"]


def test_reading_does_not_move_where_results_are_added(tmp_path: Path, source: BatchSource) -> None:
    with BatchResults(tmp_path / "out.jsonl", source) as results:
        results.append([answer("r2"), answer("r0")])
    with BatchResults(tmp_path / "out.jsonl", source) as results:
        assert [name for name, _ in results.rows()] == ["r0", "r2"]
        results.append([answer("r1")])
    assert names_in(tmp_path / "out.jsonl") == ["r2", "r0", "r1"]


def test_an_incomplete_output_stays_as_it_is(tmp_path: Path, source: BatchSource) -> None:
    target = tmp_path / "out.jsonl"
    with BatchResults(target, source) as results:
        results.append([answer("r2"), answer("r0")])
        results.finish()
    assert names_in(target) == ["r2", "r0"]


def test_the_answer_takes_the_place_of_failures_before_it(tmp_path: Path, source: BatchSource) -> None:
    with BatchResults(tmp_path / "out.jsonl", source) as results:
        results.append([failure("r0", retryable=True), answer("r1"), failure("r2", retryable=False)])
    with BatchResults(tmp_path / "out.jsonl", source) as results:
        assert results.unfinished == ["r0"]  # the last was refused for good
        results.append([answer("r0", "终")])
        results.finish(tmp_path / "errors.jsonl")
        assert results.count("answered") == 2
    assert names_in(tmp_path / "out.jsonl") == ["r0", "r1", "r2"]
    assert names_in(tmp_path / "errors.jsonl") == ["r2"]


def test_a_second_process_is_refused(tmp_path: Path, source: BatchSource) -> None:
    script = (
        "import sys; from pathlib import Path; from deepseek_apps.batch import *\n"
        "BatchResults(Path(sys.argv[2]), read_source(Path(sys.argv[1])))"
    )
    target = tmp_path / "out.jsonl"
    with BatchResults(target, source):
        command = [sys.executable, "-c", script, str(source.path), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "BatchOutputError: another process is writing" in done.stderr
    BatchResults(target, source).close()


def test_another_input_is_refused(tmp_path: Path, source: BatchSource) -> None:
    target = tmp_path / "out.jsonl"
    with BatchResults(target, source) as results:
        results.append([answer("r0")])
    source.path.write_text(batch_file(4), encoding="utf-8")
    with pytest.raises(BatchInputError, match="has changed, or is not the input"):
        BatchResults(target, read_source(source.path))
    assert names_in(target) == ["r0"]


def test_an_output_without_results_takes_another_input(tmp_path: Path, source: BatchSource) -> None:
    BatchResults(tmp_path / "out.jsonl", source).close()
    source.path.write_text(batch_file(4), encoding="utf-8")
    with BatchResults(tmp_path / "out.jsonl", read_source(source.path)) as results:
        assert len(results.unfinished) == 4


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, source: BatchSource) -> None:
    target = tmp_path / "out.jsonl"
    target.write_bytes(b"precious")
    with pytest.raises(BatchOutputError, match="exists, and"):
        BatchResults(target, source)
    assert target.read_bytes() == b"precious"
    assert not target.with_name("out.jsonl.batch.json").exists()


def test_the_input_is_no_output(source: BatchSource) -> None:
    with pytest.raises(BatchOutputError, match="is the input"):
        BatchResults(source.path, source)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, source: BatchSource) -> None:
    with pytest.raises(BatchOutputError, match=r"cannot write .*none.*No such file"):
        BatchResults(tmp_path / "none" / "out.jsonl", source)


def test_a_line_that_cannot_be_read_counts_as_not_asked(tmp_path: Path, source: BatchSource) -> None:
    with BatchResults(tmp_path / "out.jsonl", source) as results:
        results.append([answer("r0"), b"\0\0\0\n", answer("r1")])
    with BatchResults(tmp_path / "out.jsonl", source) as results:
        assert (results.unfinished, results.dropped) == (["r2"], 1)


def test_a_reply_with_half_a_character_can_be_kept() -> None:
    line = result_line("a", status=200, request_id="", body={"text": "终\ud800"}, error=None)
    assert json.loads(line)["response"]["body"]["text"] == "终\ud800"
