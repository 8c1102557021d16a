"""A schema goes into the prompt at the end of the system part, and nothing else of the request changes."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_apps.backends._json_schema import schema_in_prompt

SCHEMA = {"type": "object", "properties": {"名": {"type": "string"}}}
USER = {"role": "user", "content": "Hi"}


def body(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    described = {"name": "x", "schema": SCHEMA, "strict": True}
    wanted = {"type": "json_schema", "json_schema": described}
    return {"model": "m", "messages": [*messages, USER], "response_format": wanted, **more}


def test_json_mode_and_the_schema_in_a_system_message() -> None:
    sent = schema_in_prompt(body())
    assert sent["response_format"] == {"type": "json_object"}
    assert sent["messages"][0]["role"] == "system"
    assert '{"名": {"type": "string"}}' in sent["messages"][0]["content"]
    assert "JSON" in sent["messages"][0]["content"]
    assert sent["messages"][1:] == [USER]


def test_it_joins_the_last_system_message() -> None:
    first, second = {"role": "system", "content": "A"}, {"role": "system", "content": "B"}
    messages = schema_in_prompt(body(first, second))["messages"]
    assert len(messages) == 3
    assert messages[0] == first
    assert messages[1]["content"].startswith("B\n\nAnswer")


def test_it_joins_a_system_message_of_parts() -> None:
    part = {"type": "text", "text": "A"}
    content = schema_in_prompt(body({"role": "system", "content": [part]}))["messages"][0]["content"]
    assert content[0] == part
    assert content[1]["text"].startswith("Answer")


def test_beside_tools_there_is_no_json_mode() -> None:
    sent = schema_in_prompt(body(tools=[{"type": "function", "function": {"name": "f"}}]))
    assert "response_format" not in sent
    assert "do not call a tool" in sent["messages"][0]["content"]


@pytest.mark.parametrize("wanted", [None, {"type": "text"}, {"type": "json_object"}, "json_schema"])
def test_other_requests_stay_as_they_are(wanted: object) -> None:
    sent = {"messages": [USER], "response_format": wanted}
    assert schema_in_prompt(sent) == sent


def test_the_callers_messages_are_not_changed() -> None:
    system = {"role": "system", "content": "A"}
    schema_in_prompt(body(system))
    assert system == {"role": "system", "content": "A"}
