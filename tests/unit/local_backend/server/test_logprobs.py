"""Reported tokens are exactly those whose text is in the reply."""

from __future__ import annotations

import pytest
from scripted_engine import ScriptedEngine
from server_client import CALL, WEATHER, chat, chunks, handler_for


def _text(entries):
    return bytes(byte for entry in entries or () for byte in entry["bytes"]).decode()


def test_entries_have_the_dialects_shape():
    logprobs = chat(handler_for(ScriptedEngine("A")), logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]
    top = [{"token": "A", "logprob": -0.5, "bytes": [65]}, {"token": "B", "logprob": -1.5, "bytes": [66]}]
    assert logprobs == {"content": [{"token": "A", "logprob": -0.5, "bytes": [65], "top_logprobs": top}]}


def test_without_alternatives():
    logprobs = chat(handler_for(ScriptedEngine("A")), logprobs=True)["choices"][0]["logprobs"]
    assert logprobs["content"][0]["top_logprobs"] == []


@pytest.mark.parametrize("script", ["Hello", "\n\nHello 你好🙂 there", "Hello stop it", "ends in sto", ""])
@pytest.mark.parametrize("whole", [True, False])
def test_entries_spell_the_content(script, whole):
    handler, fields = handler_for(ScriptedEngine(script)), {"logprobs": True, "stop": "stop"}
    if whole:
        choice = chat(handler, **fields)["choices"][0]
        content, entries = choice["message"]["content"], (choice["logprobs"] or {}).get("content")
    else:
        choices = [chunk["choices"][0] for chunk in chunks(handler, **fields)]
        content = "".join(choice["delta"].get("content") or "" for choice in choices)
        entries = [entry for choice in choices for entry in (choice["logprobs"] or {}).get("content", [])]
    assert _text(entries) == content


def test_reasoning_and_content_are_kept_apart_without_the_tag():
    handler = handler_for(ScriptedEngine("thought</think>\n\nanswer", thinking=True))
    logprobs = chat(handler, logprobs=True)["choices"][0]["logprobs"]
    assert {name: _text(entries) for name, entries in logprobs.items()} == {
        "reasoning_content": "thought",
        "content": "answer",
    }


def test_calls_have_none():
    handler = handler_for(ScriptedEngine(f"See.{CALL}"))
    logprobs = chat(handler, logprobs=True, tools=[WEATHER])["choices"][0]["logprobs"]
    assert _text(logprobs["content"]) == "See."
