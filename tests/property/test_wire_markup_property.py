"""Tool markup in content: cuts do not matter, ordinary text passes untouched, calls survive common damage."""

from __future__ import annotations

import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_apps.wire.dsml import MarkupReader

_OPEN = "<｜DSML｜tool_calls>\n"
_INVOKE = '<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="k" string="true">v</｜DSML｜parameter>\n'
_CLOSE = "</｜DSML｜invoke>\n</｜DSML｜tool_calls>"
_FRAGMENTS = [
    *(_OPEN + _INVOKE + _CLOSE, "\n\n" + _OPEN, _INVOKE, _CLOSE, _INVOKE[:30], "</｜DSML｜invoke>"),
    *("<｜DSML｜ calls>", "</｜DSML｜ calls>", "</|DSML|calls>", "<‖DSML‖function_calls>"),
    *('<｜DSML｜invoke name="now"/>', '<|DSML|invoke name="a">{"x": 1}</|DSML|invoke>'),
    *(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}",
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    *("<", "｜", "<｜", "<｜｜DSML", "</", "\n", "\n\n", " ", "a < b", "世", "🙂", "x", ">", "if (a<b) {"),
]
_TEXTS = st.lists(st.sampled_from(_FRAGMENTS) | st.text("<｜|DSML/ \ncals>ok", max_size=6), max_size=8)


def _read(pieces, *, cut=False):
    reader = MarkupReader()
    said, calls = [], []
    for piece in pieces:
        text, found = reader.push(piece)
        said.append(text)
        calls += found
    text, found = reader.finish(cut=cut)
    return "".join([*said, text]), calls + found


@settings(deadline=None, max_examples=400)
@given(texts=_TEXTS, positions=st.lists(st.integers(0, 10**6), max_size=12), cut=st.booleans())
def test_output_does_not_depend_on_cuts(texts, positions, cut) -> None:
    text = "".join(texts)
    bounds = [0, *sorted(position % (len(text) + 1) for position in positions), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(bounds)]
    assert _read(pieces, cut=cut) == _read([text], cut=cut)
    assert _read(list(text), cut=cut) == _read([text], cut=cut)


@settings(deadline=None, max_examples=200)
@given(text=st.text("<>｜|/DSML tolcas_\n世a", max_size=40))
def test_text_without_a_block_passes_as_it_is(text) -> None:
    said, calls = _read(list(text))
    assert (said, calls) == (text, [])


@settings(deadline=None, max_examples=200)
@given(text=st.text("<>=-ab(){}\n 世\"'", min_size=1, max_size=30))
def test_code_is_never_held_back_for_more_than_line_breaks_and_one_bracket(text) -> None:
    reader, passed = MarkupReader(), ""
    for end, char in enumerate(text, 1):
        passed += reader.push(char)[0]
        assert text[:end].startswith(passed)
        assert text[len(passed) : end].strip("\n") in {"", "<"}


_VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=8)


@settings(deadline=None, max_examples=200)
@given(
    arguments=st.dictionaries(st.text("abc_", min_size=1, max_size=4), _VALUES | st.integers(), max_size=3),
    bar=st.sampled_from(["｜", "|", "‖", "｜｜", "||"]),
    blank=st.sampled_from(["", " "]),
    block=st.sampled_from(["tool_calls", "function_calls", "calls"]),
    closed=st.integers(0, 3),
)
def test_calls_come_back_whatever_the_damage(arguments, bar, blank, block, closed) -> None:
    mark = f"{bar}DSML{bar}{blank}"
    lines = [f"<{mark}{block}>", f'<{mark}invoke name="f">']
    for name, value in arguments.items():
        text = value if isinstance(value, str) else json.dumps(value)
        kind = "true" if isinstance(value, str) else "false"
        lines.append(f'<{mark}parameter name="{name}" string="{kind}">{text}</{mark}parameter>')
    closing = [f"</{mark}invoke>", f"</{mark}{block}>", ""][:closed]
    said, calls = _read(["Let me see.\n\n" + "\n".join(lines + closing)])
    assert said == "Let me see."
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [("f", arguments)]
