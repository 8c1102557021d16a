"""What a call's parameters become before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_apps.chat.request import (
    OPTION_NAMES,
    add_instruction,
    forced_tool,
    plan_call,
    split_options,
    thinks,
    without_thinking,
)
from deepseek_apps.errors import SettingsError
from deepseek_apps.thinking import thinking_field

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
NAMED = {"type": "function", "function": {"name": "weather"}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def body(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hi"}], "tools": TOOLS, **fields}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, None),
        (True, {"type": "enabled"}),
        (False, {"type": "disabled"}),
        ("adaptive", {"type": "adaptive"}),
        ({"type": "enabled", "budget": 1}, {"type": "enabled", "budget": 1}),
    ],
)
def test_thinking_has_one_form_on_the_wire(given: Any, sent: Any) -> None:
    assert thinking_field(given) == sent


@pytest.mark.parametrize("given", ["loud", {}, {"type": "on"}, {"budget": 1}, 1.5, ["enabled"]])
def test_other_forms_of_thinking_are_refused_by_value(given: Any) -> None:
    with pytest.raises(SettingsError, match=r"thinking=.* is not understood") as caught:
        thinking_field(given)
    assert "True, False" in caught.value.help_message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"thinking": {"type": "enabled"}}, True),
        ({"thinking": {"type": "adaptive"}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "max"}, True),
    ],
)
def test_a_request_thinks_unless_it_says_otherwise(fields: dict[str, Any], expected: bool) -> None:
    assert thinks(fields) is expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [(None, None), ("auto", None), ("none", None), ("required", ""), (NAMED, "weather"), ({}, "")],
)
def test_which_tool_is_forced(choice: Any, expected: str | None) -> None:
    assert forced_tool(body(tool_choice=choice)) == expected


def test_nothing_is_forced_without_tools() -> None:
    assert forced_tool({"tool_choice": "required"}) is None


def test_a_call_that_forces_nothing_is_left_alone() -> None:
    call = plan_call(body(tool_choice="auto", reasoning_effort="max"), "disable_thinking")
    assert call.body == body(tool_choice="auto", reasoning_effort="max")
    assert (call.must_call, call.notes) == (None, {})


def test_a_forced_tool_without_thinking_is_left_to_the_api() -> None:
    call = plan_call(body(tool_choice="required", thinking={"type": "disabled"}), "instruct")
    assert call.body["tool_choice"] == "required"
    assert (call.must_call, call.notes) == (None, {})


def test_thinking_gives_way_to_a_forced_tool() -> None:
    call = plan_call(body(tool_choice=NAMED, reasoning_effort="max"), "disable_thinking")
    assert call.body == body(tool_choice=NAMED, thinking={"type": "disabled"})
    assert call.notes == {"forced_tool_choice": "thinking disabled"}


def test_a_forced_tool_is_asked_for_in_words_after_the_cached_prefix() -> None:
    call = plan_call(body(tool_choice=NAMED), "instruct")
    assert call.body["tool_choice"] == "auto"
    assert call.body["messages"][0] == body()["messages"][0]
    assert "`weather`" in call.body["messages"][-1]["content"]
    assert (call.must_call, call.notes) == ("weather", {"forced_tool_choice": "instructed"})


def test_the_second_attempt_shows_the_first() -> None:
    call = plan_call(body(tool_choice="required"), "instruct")
    answer = {"role": "assistant", "content": "No."}
    again = call.again(answer)
    assert again.body["messages"][:3] == [*call.body["messages"], answer]
    assert again.body["messages"][3]["role"] == "user"
    assert "did not call" in again.body["messages"][3]["content"]
    assert again.notes == {"forced_tool_choice": "instructed again"}


@pytest.mark.parametrize(
    ("choice", "called", "missed"),
    [
        ("required", [], True),
        ("required", ["other"], False),
        (NAMED, ["other"], True),
        (NAMED, ["other", "weather"], False),
        ("auto", [], False),
    ],
)
def test_which_answers_miss_their_call(choice: Any, called: list[str], missed: bool) -> None:
    assert plan_call(body(tool_choice=choice), "instruct").misses(called) is missed


def test_transport_options_do_not_reach_the_body() -> None:
    asked, options = split_options(
        {"model": "m", "timeout": 3, "extra_headers": {"x-a": "1"}, "extra_query": {"q": 1}}
    )
    assert asked == {"model": "m"}
    assert (options.timeout, options.headers, options.query) == (3, {"x-a": "1"}, {"q": 1})


def test_an_extra_body_wins_and_limits_have_one_name() -> None:
    asked, _ = split_options({"temperature": 0, "extra_body": {"temperature": 1, "max_completion_tokens": 5}})
    assert asked == {"temperature": 1, "max_tokens": 5}
    asked, _ = split_options({"max_tokens": 7, "max_completion_tokens": 5})
    assert asked == {"max_tokens": 7}


@given(st.dictionaries(st.sampled_from(["model", "tools", "tool_choice", "stop", *OPTION_NAMES]), JSON))
def test_splitting_changes_and_loses_nothing(parameters: dict[str, Any]) -> None:
    before = dict(parameters)
    asked, options = split_options(parameters)
    assert parameters == before
    assert asked == {name: value for name, value in before.items() if name not in OPTION_NAMES}
    assert options.timeout == before.get("timeout")


@given(st.sampled_from([None, "auto", "none", "required", NAMED]), st.sampled_from(["enabled", "disabled"]))
def test_plans_never_force_a_tool_on_a_model_that_thinks(choice: Any, kind: str) -> None:
    for how in ("disable_thinking", "instruct"):
        made = plan_call(body(tool_choice=choice, thinking={"type": kind}), how).body  # type: ignore[arg-type]
        assert forced_tool(made) is None or not thinks(made)


def test_requests_are_copied_not_changed() -> None:
    asked = body(tool_choice="required", reasoning_effort="low")
    before = {**asked, "messages": list(asked["messages"])}
    without_thinking(asked)
    add_instruction(asked, "")
    assert asked == before
