"""Whatever comes in is answered, and whatever is framed can be read back."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from scripted_engine import ScriptedEngine
from server_client import USER, WEATHER, chat, chunks, fold, folded_whole, handler_for, post, read

from local_backend.server import sse

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = [
    "messages", "thinking", "reasoning_effort", "max_tokens", "max_completion_tokens", "temperature", "top_p",
    "top_k", "stop", "stream", "stream_options", "logprobs", "top_logprobs", "response_format", "tools",
    "tool_choice", "n", "seed", "user_id", "prompt", "suffix", "echo", "model",
]  # fmt: skip
_PART = st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url", "x"]), "text": _JSON})
_MESSAGE = st.dictionaries(
    st.sampled_from(["role", "content", "prefix", "tool_calls", "tool_call_id", "reasoning_content"]),
    st.sampled_from(["system", "user", "assistant", "tool"]) | st.lists(_PART, max_size=2) | _JSON,
)
_BODY = st.fixed_dictionaries(
    {
        "model": st.just("toy"),
        "prompt": st.just("x"),
        "messages": st.just(USER) | st.lists(_MESSAGE, max_size=3),
    }
).flatmap(lambda body: st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=3).map(body.__or__))


@given(body=_BODY, path=st.sampled_from(["/chat/completions", "/completions"]))
def test_no_body_is_the_servers_fault(body, path):
    engine = ScriptedEngine("ok")
    status, text = read(post(handler_for(engine), body, path))
    assert status in (200, 400), text
    assert status == 200 or not engine.submitted


@given(raw=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_no_bytes_are_the_servers_fault(raw):
    assert read(post(handler_for(ScriptedEngine()), raw))[0] == 400


@given(messages=st.lists(st.text()))
def test_framed_messages_can_be_read_back(messages):
    stream = b"".join(map(sse.event, messages)).decode()
    events = [event for event in stream.split("\n\n") if event]
    joined = ["\n".join(line.removeprefix("data: ") for line in event.split("\n")) for event in events]
    assert joined == [m.replace("\r\n", "\n").replace("\r", "\n") for m in messages]


@given(
    script=st.text(alphabet="ab \n你🙂<>/think{}｜", max_size=30),
    stop=st.lists(st.text(alphabet="ab \n你<", min_size=1, max_size=3), max_size=2),
    max_tokens=st.integers(1, 60),
    flags=st.sets(st.sampled_from(["thinking", "tools", "logprobs"])),
)
def test_stream_folds_to_the_whole_reply(script, stop, max_tokens, flags):
    handler = handler_for(ScriptedEngine(script, thinking="thinking" in flags))
    fields = {"stop": stop, "max_tokens": max_tokens, "logprobs": "logprobs" in flags}
    fields["tools"] = [WEATHER] if "tools" in flags else []
    assert fold(chunks(handler, **fields)) == folded_whole(chat(handler, **fields))


@given(
    script=st.text(alphabet="ab \n你🙂", max_size=30),
    stop=st.lists(st.text(alphabet="ab \n你", min_size=1, max_size=3), max_size=2),
)
def test_completion_stops_where_a_plain_search_would(script, stop):
    body = {"model": "toy", "prompt": "x", "stop": stop}
    text = json.loads(read(post(handler_for(ScriptedEngine(script)), body, "/completions"))[1])["choices"][0][
        "text"
    ]
    found = [(script.find(s) + len(s), script.find(s)) for s in stop if s in script]
    assert text == script[: min(found)[1] if found else len(script)]
