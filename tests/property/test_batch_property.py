"""Whatever a batch's output was cut to, and in whatever order results came, nothing that is whole is lost."""

from __future__ import annotations

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from deepseek_apps.batch.result_lines import Spans, repair_tail, result_line, scan

NAMES = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), unique=True, max_size=6)
ERROR = {"code": "500", "message": "m\n", "retryable": True}


def line(name: str, *, answered: bool = True) -> bytes:
    error = None if answered else ERROR
    return result_line(name, status=200, request_id="", body={"text": f"{name}\r\n\u2028\x00"}, error=error)


def read(data: bytes, spans: Spans) -> dict[str, str]:
    return {
        json.loads(data[span.offset : span.offset + span.length])["custom_id"]: span.state
        for span in spans.values()
    }


@given(NAMES, st.data())
def test_a_cut_at_any_byte_loses_only_what_was_cut(names: list[str], data: st.DataObject) -> None:
    lines = [line(name) for name in names]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [sum(len(part) for part in lines[: number + 1]) for number in range(len(lines))]
    # A line that lacks nothing but its line end is whole.
    kept = [name for name, end in zip(names, ends, strict=True) if end - 1 <= cut]

    file = io.BytesIO(whole[:cut])
    repair_tail(file)
    spans, unreadable = scan(file)
    assert (list(spans), unreadable) == (kept, 0)

    file.seek(0, io.SEEK_END)
    for name in names:
        if name not in spans:
            file.write(line(name))
    assert list(read(file.getvalue(), scan(file)[0])) == names


@given(NAMES, st.binary(max_size=200))
def test_repairing_is_done_once(names: list[str], rubbish: bytes) -> None:
    file = io.BytesIO(b"".join(map(line, names)) + rubbish)
    repair_tail(file)
    once = file.getvalue()
    assert repair_tail(file) == 0
    assert file.getvalue() == once
    assert once == b"" or once.endswith(b"\n")
    assert set(names) <= set(scan(file)[0])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12))
def test_an_answer_is_never_forgotten_for_a_failure(events: list[tuple[str, bool]]) -> None:
    file = io.BytesIO(b"".join(line(name, answered=answered) for name, answered in events))
    spans, _ = scan(file)
    states = read(file.getvalue(), spans)
    for name in "abc":
        answers = [answered for other, answered in events if other == name]
        expected = None if not answers else "answered" if any(answers) else "failed"
        assert states.get(name) == expected


def test_a_long_half_line_is_cut_off_whole() -> None:
    half = line("b" * 200_000)[:-3]
    file = io.BytesIO(line("a") + half)
    assert repair_tail(file) == len(half)
    assert file.getvalue() == line("a")
