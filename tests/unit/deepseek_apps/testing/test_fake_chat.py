"""Answers of the fake: shapes and order of the reference, usage, cache, JSON mode, lengths, defaults."""

from __future__ import annotations

import json
import re

import pytest
from fake_asking import HI, OFF, deltas, events, post

from deepseek_apps.testing import FakeDeepSeek, RawReply, Reply, Request

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def test_a_whole_answer_has_the_documented_members_in_their_order(fake: FakeDeepSeek) -> None:
    fake.reply("It rains.", reasoning="Look.", tool_calls=[("weather", {"city": "Oslo", "days": 3})])
    body = post(fake).json()
    assert list(body) == ["id", "object", "created", "model", "choices", "usage", "system_fingerprint"]
    message = body["choices"][0]["message"]
    [call] = message.pop("tool_calls")
    assert message == {"role": "assistant", "content": "It rains.", "reasoning_content": "Look."}
    assert re.fullmatch(r"call_00_[0-9A-Za-z]{24}", call.pop("id"))
    arguments = '{"city": "Oslo", "days": 3}'
    assert call == {"index": 0, "type": "function", "function": {"name": "weather", "arguments": arguments}}
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_a_stream_has_the_documented_order(fake: FakeDeepSeek) -> None:
    fake.reply(["It ", "rains."], reasoning=["Look."], tool_calls=[("weather", {"city": "Oslo"})])
    first, thought, one, two, call, *arguments, last = deltas(post(fake, stream=True))
    assert first == {"role": "assistant", "content": None, "reasoning_content": ""}
    assert thought == {"content": None, "reasoning_content": "Look."}
    assert [one, two] == [{"content": text, "reasoning_content": None} for text in ("It ", "rains.")]
    assert call["tool_calls"][0]["function"] == {"name": "weather", "arguments": ""}
    assert "".join(each["tool_calls"][0]["function"]["arguments"] for each in arguments) == '{"city": "Oslo"}'
    assert last == {"content": "", "reasoning_content": None}


def test_with_thinking_off_nothing_speaks_of_reasoning(fake: FakeDeepSeek) -> None:
    fake.reply("Hello", reasoning="Hidden.", times=2)
    assert "reasoning" not in post(fake, thinking=OFF).text
    streamed = post(fake, thinking=OFF, stream=True)
    assert "reasoning" not in streamed.text
    assert deltas(streamed)[0] == {"role": "assistant", "content": ""}


def test_an_answer_of_calls_alone_has_empty_content(fake: FakeDeepSeek) -> None:
    fake.reply(tool_calls=[("weather", "{broken")])
    message = post(fake).json()["choices"][0]["message"]
    assert message["content"] == ""
    assert message["tool_calls"][0]["function"]["arguments"] == "{broken"


def test_usage_is_on_the_finish_chunk(fake: FakeDeepSeek) -> None:
    *others, last = events(post(fake, stream=True))
    assert "usage" in last
    assert not any("usage" in chunk for chunk in others)
    *others, last = events(post(fake, stream=True, stream_options={"include_usage": True}))
    assert all(chunk["usage"] is None for chunk in others)
    assert last["choices"][0]["finish_reason"] == "stop"


def test_usage_can_be_in_a_chunk_of_its_own() -> None:
    with FakeDeepSeek(usage_chunk="trailing", count_tokens=False) as fake:
        *_, finish, last = events(post(fake, stream=True, stream_options={"include_usage": True}))
        assert (finish["usage"], last["choices"]) == (None, [])
        assert last["usage"]["total_tokens"] > 0
        assert not any("usage" in chunk for chunk in events(post(fake, stream=True)))


def test_tokens_are_counted_with_deepseeks_tokenizer() -> None:
    # The rendered prompt is one of the recipe's vectors: 152 characters.
    with FakeDeepSeek() as fake:
        fake.reply("Hello world", reasoning="Hm")
        usage = post(fake).json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (35, 4)
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_the_cache_hits_in_blocks_of_128_apart_for_each_user(fake: FakeDeepSeek) -> None:
    long = [{"role": "user", "content": "word " * 200}]

    def hit(**fields: object) -> tuple[int, int]:
        usage = post(fake, messages=long, **fields).json()["usage"]
        assert usage["prompt_cache_hit_tokens"] + usage["prompt_cache_miss_tokens"] == usage["prompt_tokens"]
        assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_cache_hit_tokens"]
        return usage["prompt_cache_hit_tokens"], usage["prompt_tokens"]

    assert hit()[0] == 0
    cached, prompt = hit()
    assert cached == prompt // 128 * 128 > 0
    assert hit(user_id="other")[0] == 0
    assert hit(model="deepseek-v4-pro")[0] == 0


def test_json_mode_leaves_blanks_where_there_is_no_json(fake: FakeDeepSeek) -> None:
    fake.reply('Sure:\n```json\n{"a": 1}\n```').reply("Only prose.")
    fields = {"response_format": {"type": "json_object"}, "messages": [{"role": "user", "content": "JSON!"}]}
    whole = post(fake, **fields).json()["choices"][0]["message"]["content"]
    assert (json.loads(whole), whole.strip()) == ({"a": 1}, '{"a": 1}')
    assert post(fake, **fields).json()["choices"][0]["message"]["content"] == " "


def test_max_tokens_cuts_and_thinking_can_eat_it_all(fake: FakeDeepSeek) -> None:
    fake.reply("Hello", reasoning="a" * 400, times=2)
    choice = post(fake, max_tokens=10).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")
    assert choice["message"]["reasoning_content"] == "a" * 40
    # `max_completion_tokens` is ignored, as by the API.
    assert post(fake, max_completion_tokens=1).json()["choices"][0]["finish_reason"] == "stop"


def test_stop_strings_end_the_answer_and_are_not_in_it(fake: FakeDeepSeek) -> None:
    fake.reply(["one two", " three"], reasoning="two", times=2)
    message = post(fake, stop=["x", "two"]).json()["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("one ", "two")
    assert "three" not in post(fake, stop="two", stream=True).text


def test_a_prefix_is_continued(fake: FakeDeepSeek) -> None:
    fake.reply(" world", reasoning="No.")
    messages = [*HI, {"role": "assistant", "content": "Hello", "prefix": True}]
    message = post(fake, "/beta/chat/completions", messages=messages).json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": " world"}


@pytest.mark.parametrize("sent", ["deepseek-v4-flash", "deepseek-flash", "deepseek-v4-flash-vision-exp"])
def test_aliases_answer_under_the_canonical_name(fake: FakeDeepSeek, sent: str) -> None:
    assert post(fake, model=sent).json()["model"] == "deepseek-flash"


def test_log_probabilities_come_for_reasoning_and_content(fake: FakeDeepSeek) -> None:
    fake.reply(["Hé"], reasoning=["R"], times=2)
    logprobs = post(fake, logprobs=True, top_logprobs=1).json()["choices"][0]["logprobs"]
    [entry] = logprobs["content"]
    assert (entry["token"], entry["bytes"]) == ("Hé", [72, 195, 169])
    assert logprobs["reasoning_content"][0]["top_logprobs"][0]["token"] == "R"
    assert "logprobs" not in post(fake).json()["choices"][0]["message"]


def test_defaults_echo_call_and_fill(fake: FakeDeepSeek) -> None:
    def message(**fields: object) -> dict[str, object]:
        return post(fake, **fields).json()["choices"][0]["message"]

    assert message()["content"] == "You said: Hi"
    forced = message(tools=[WEATHER], tool_choice="required", thinking=OFF)
    assert json.loads(forced["tool_calls"][0]["function"]["arguments"]) == {"city": "text"}
    named = [{"role": "user", "content": "Use weather."}]
    assert "tool_calls" in message(tools=[WEATHER], messages=named)
    assert "tool_calls" not in message(tools=[WEATHER])
    schema = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}})
    asked = [{"role": "user", "content": f"Answer with JSON like {schema} please."}]
    assert json.loads(message(messages=asked, response_format={"type": "json_object"})["content"]) == {"n": 1}


def test_a_responder_sees_the_request_and_may_decline(fake: FakeDeepSeek) -> None:
    def respond(request: Request) -> Reply | None:
        return Reply("42") if request.last_user_text == "Hi" else None

    fake.responder = respond
    assert post(fake).json()["choices"][0]["message"]["content"] == "42"
    other = post(fake, messages=[{"role": "user", "content": [{"type": "text", "text": "Ho"}]}])
    assert other.json()["choices"][0]["message"]["content"] == "You said: Ho"


def test_what_a_responder_raises_reaches_the_test() -> None:
    def respond(request: Request) -> Reply:
        raise KeyError("mistake in the test")

    with pytest.raises(KeyError, match="mistake"), FakeDeepSeek(count_tokens=False) as fake:  # noqa: PT012
        fake.responder = respond
        assert post(fake).status_code == 500


def test_a_responder_may_answer_in_bytes(fake: FakeDeepSeek) -> None:
    fake.responder = lambda request: RawReply(parts=(b"no",), status=418, content_type="text/plain")
    assert (post(fake).status_code, post(fake).text) == (418, "no")


def test_long_questions_are_shortened_and_tool_results_repeated(fake: FakeDeepSeek) -> None:
    long = post(fake, messages=[{"role": "user", "content": "x" * 300}]).json()
    assert long["choices"][0]["message"]["content"] == f"You said: {'x' * 200}…"
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    turn = [
        *HI,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "3"},
    ]
    answer = post(fake, messages=turn, tools=[WEATHER]).json()["choices"][0]["message"]["content"]
    assert answer == "The tool said: 3"
