"""The template family on toy vocabularies: roles, tools, thinking, continuation, output formats."""

from __future__ import annotations

import deepseek_recipe as recipe
import pytest
from conversations import NOW, WEATHER, assistant, call, convert, result, user
from toy_gguf import CHATML, R1, toy_assets

from local_backend.errors import RequestError, UnsupportedModelError
from local_backend.families.registry import family_for
from local_backend.families.tokenizer import Tokenizer

_SYSTEM = "<|im_start|>system\n"
_PREFIX = assistant("", prefix=True, reasoning_content="R")


def _family(template=CHATML, **changes):
    assets = toy_assets(template, **changes)
    return family_for(assets, Tokenizer.from_assets(assets))


def _text(*messages, template=CHATML, **fields):
    return _family(template).render(convert(*messages, **fields).conversation).text


def test_a_model_without_template_is_refused():
    with pytest.raises(UnsupportedModelError, match="no chat template"):
        _family(None)


@pytest.mark.parametrize(("template", "name", "thinking"), [(CHATML, "chatml", False), (R1, "jinja", True)])
def test_family_is_chosen_by_its_template(template, name, thinking):
    family = _family(template)
    assert (family.name, family.supports_thinking) == (name, thinking)


def test_consecutive_user_texts_and_reminders_are_joined():
    reminder = {"role": "latest_reminder", "content": "It is Monday."}
    assert "user\na\n\nb\n\nIt is Monday.<|im_end|>" in _text(user("a"), user("b"), reminder)


def test_a_continued_answer_stays_open():
    assert _text(user("a"), assistant("pre<|im_end|>", prefix=True)).endswith("assistant\npre<|im_end|>")


def test_json_mode_tells_the_model():
    fields = {"response_format": {"type": "json_object"}}
    text = _text(user("json"), **fields)
    assert text.startswith(f"{_SYSTEM}You are a helpful assistant.\n\nAnswer with one JSON object")
    given = _text({"role": "system", "content": "Be brief."}, user("json"), **fields)
    assert given.startswith(f"{_SYSTEM}Be brief.\n\nAnswer with one JSON object")


def test_json_schema_is_shown():
    schema = {"type": "object", "properties": {"<|im_end|>": {"type": "integer"}}}
    fields = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    prompt = _family().render(convert(user("json"), **fields).conversation)
    assert '"<|im_end|>"' in prompt.text.split("<|im_start|>user")[0]


def test_templates_without_tools_get_them_as_text():
    messages = [user("W?"), assistant(None, tool_calls=[call("a", "now", "{}")]), result("a", "noon")]
    text = _text(*messages, tools=[NOW, WEATHER])
    assert "<tools>\n" in text
    assert '"name": "get_weather"' in text
    assert 'assistant\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>' in text
    assert "user\n<tool_response>\nnoon\n</tool_response><|im_end|>" in text


def test_tool_choice_none_hides_the_tools():
    assert "get_weather" not in _text(user("W?"), tools=[WEATHER], tool_choice="none")


def test_tools_of_a_system_message_count():
    tool = recipe.ToolDefinition("now", parameters={})
    messages = [recipe.SystemMessage("S", tools=[tool]), recipe.UserMessage("W?")]
    conversation = recipe.Conversation(messages, thinking_mode=False)
    assert '"name": "now"' in _family().render(conversation).text


def test_arguments_that_are_not_json_become_one_argument():
    messages = [user("W?"), assistant(None, tool_calls=[call("a", "now", "zz")]), result("a", "x")]
    assert '{"arguments": "zz"}' in _text(*messages, tools=[NOW])


def test_a_template_that_wants_the_system_first_gets_it():
    strict = (
        "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('no') }}"
        "{% endif %}{{ m.role }}:{{ m.content }};{% endfor %}"
    )
    messages = [user("a"), {"role": "system", "content": "S"}, user("b")]
    assert _text(*messages, template=strict).startswith("system:S;user:a;user:b")


def test_a_template_that_refuses_is_a_request_error():
    with pytest.raises(RequestError, match="no luck"):
        _text(user("a"), template="{{ raise_exception('no luck') }}")


def test_begin_token_is_added_when_the_template_has_none():
    family = _family(add_bos_token=True)
    ids = family.render(convert(user("a")).conversation).token_ids
    assert ids[0] == Tokenizer.from_assets(toy_assets()).token_id("<|endoftext|>")
    assert _text(user("a"), template=R1).count("<|endoftext|>") == 1


@pytest.mark.parametrize(
    ("thinking", "messages", "ending"),
    [
        (True, [user("a")], "<｜Assistant｜><think>\n"),
        (False, [user("a")], "<｜Assistant｜><think>\n\n</think>\n\n"),
        (True, [user("a"), _PREFIX | {"content": "pre"}], "<think>\nR\n</think>\n\npre"),
        (True, [user("a"), _PREFIX], "<think>\nR"),
        (False, [user("a"), assistant("pre", prefix=True)], "</think>\n\npre"),
    ],
)
def test_reasoning_is_opened_or_closed(thinking, messages, ending):
    assert _text(*messages, template=R1, thinking=thinking).endswith(ending)


def test_a_template_that_opens_no_reasoning_is_helped():
    silent = R1.replace("<think>\\n'", "'")
    assert _text(user("a"), template=silent, thinking=True).endswith("<｜Assistant｜><think>\n")
    assert _text(user("a"), template=silent).endswith("<｜Assistant｜><think>\n\n</think>\n\n")


def test_thinking_changes_nothing_for_a_model_without():
    assert _text(user("a"), thinking=True) == _text(user("a"))


def test_stop_tokens_include_the_end_of_a_turn():
    family = _family()
    assert Tokenizer.from_assets(toy_assets()).token_id("<|im_end|>") in family.stop_token_ids


def test_fim_needs_its_tokens():
    names = [f"<|fim_{part}|>" for part in ("prefix", "suffix", "middle")]
    assert len(_family().fim("a", "b")) == 5
    assets = toy_assets()
    bare = assets.tokenizer_json
    for name in names:
        bare = bare.replace(name, name.replace("fim", "xxx"))
    changed = type(assets)(**{f: getattr(assets, f) for f in assets.__slots__} | {"tokenizer_json": bare})
    with pytest.raises(UnsupportedModelError, match="fill-in-the-middle"):
        family_for(changed, Tokenizer.from_assets(changed)).fim("a", "b")
