"""DeepSeek's own library takes the messages we write, and we read the tool markup that it writes."""

from __future__ import annotations

import json

import deepseek_recipe as recipe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from deepseek_apps.wire import to_wire
from deepseek_apps.wire.dsml import MarkupReader

ENCODINGS = {"DeepSeek-V4-Pro": recipe.DeepseekV4Encoding, "DeepSeek-V4.1-Flash": recipe.DeepseekV41Encoding}


def converted(messages, model="DeepSeek-V4.1-Flash"):
    """Convert under the policy that answers 400 where reasoning is missing."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    request = recipe.ChatCompletionRequest({"model": model, "messages": to_wire(messages), "tools": tools})
    reject = recipe.ReasoningContentBehavior.Reject
    return request.convert(recipe.ConversionOptions(reasoning_content_behavior=reject)).conversation


@st.composite
def tool_turns(draw):
    """A conversation as agents have it, with ids and reasoning as servers give or omit them."""
    messages = draw(st.sampled_from([[], [SystemMessage("s")]]))
    for turn in range(draw(st.integers(1, 3))):
        messages = [*messages, HumanMessage("q")]
        for step in range(draw(st.integers(0, 2))):
            ids = draw(st.lists(st.sampled_from(["", "same", f"c{turn}{step}"]), min_size=1, max_size=3))
            thought = draw(st.sampled_from([{}, {"reasoning_content": "R"}, {"reasoning_content": None}]))
            calls = [{"name": "f", "args": {"n": n}, "id": i} for n, i in enumerate(ids)]
            messages += [AIMessage("", tool_calls=calls, additional_kwargs=thought)]
            messages += [ToolMessage(str(n), tool_call_id=i) for n, i in enumerate(ids)]
        messages += [AIMessage(draw(st.sampled_from(["", "a"])))]
    return [*messages, HumanMessage("q")]


@settings(deadline=None, max_examples=100)
@given(tool_turns())
def test_every_tool_loop_is_accepted_and_results_meet_their_calls(messages) -> None:
    by_id = {}
    for message in converted(messages).messages:
        by_id |= {call.id: json.loads(call.arguments)["n"] for call in message.tool_calls or ()}
        if message.role == "tool":
            assert message.content == str(by_id[message.tool_call_id])


@pytest.mark.parametrize("model", ENCODINGS)
@settings(deadline=None, max_examples=60)
@given(
    arguments=st.dictionaries(
        st.text("ab_", min_size=1),
        st.text("a\n\"' 世", max_size=8) | st.integers(-(2**63), 2**63 - 1) | st.none(),
    )
)
def test_calls_that_the_encoding_renders_are_read_back(model, arguments) -> None:
    call = AIMessage("Well.", tool_calls=[{"name": "f", "args": arguments, "id": "c"}])
    result = ToolMessage("r", tool_call_id="c")
    conversation = converted([HumanMessage("q"), call, result], model)
    prompt = ENCODINGS[model]().render_conversation(conversation).prompt
    said = prompt[prompt.rindex("Well.") :].partition("<｜end▁of▁sentence｜>")[0]
    reader = MarkupReader()
    text, calls = reader.push(said)
    rest, more = reader.finish(cut=False)
    assert text + rest == "Well."
    assert [(one.name, json.loads(one.arguments)) for one in calls + more] == [("f", arguments)]
