"""Structured output over a loopback DeepSeek: what is asked, what comes out; repair."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

import langchain_deepseek
import pytest
from fake_deepseek import FakeDeepSeek, fake_deepseek
from langchain_core.exceptions import OutputParserException
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel, ConfigDict
from pydantic.v1 import BaseModel as BaseModelV1
from pydantic.v1 import validator
from structured_replies import GOOD, HALF, JOKE, Joke, called, model, said
from typing_extensions import TypedDict

from deepseek_apps import errors
from deepseek_apps.structured import ChatStructuredOutputInvalidError, structured_output


class JokeV1(BaseModelV1):
    setup: str
    punchline: str


class JokeDict(TypedDict):
    """A joke."""

    setup: str
    punchline: str | None


class Mood(Enum):
    DRY = "dry"


class StrictJoke(BaseModel):
    model_config = ConfigDict(strict=True)
    mood: Mood


def asked(fake: FakeDeepSeek, index: int = -1) -> dict[str, Any]:
    return fake.asked[index].body


def texts(fake: FakeDeepSeek, index: int = -1) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in asked(fake, index)["messages"]]


def ask(fake: FakeDeepSeek, schema: Any = Joke, prompt: Any = "hi", **options: Any) -> Any:
    return structured_output(model(fake), schema, **options).invoke(prompt)


@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
def test_a_class_gives_an_instance(method: Any) -> None:
    with fake_deepseek(said(GOOD)) as fake:
        assert ask(fake, method=method) == JOKE
    assert asked(fake)["response_format"] == {"type": "json_object"}
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    "schema", [JokeDict, Joke.model_json_schema(), JokeV1.schema(), {"properties": {"setup": {}}}]
)
def test_other_schemas_give_dicts(schema: Any) -> None:
    with fake_deepseek(said(GOOD)) as fake:
        assert ask(fake, schema) == {"setup": "Why?", "punchline": "Because."}


def test_classes_of_pydantic_1_and_strict_ones_give_instances() -> None:
    with fake_deepseek(said(GOOD), said('{"mood": "dry"}')) as fake:
        assert ask(fake, JokeV1) == JokeV1(setup="Why?", punchline="Because.")
        assert ask(fake, StrictJoke).mood is Mood.DRY


async def test_async_asks_the_same() -> None:
    with fake_deepseek(said(HALF), said(GOOD), said(HALF), said(GOOD)) as fake:
        chat = model(fake)
        assert await structured_output(chat, Joke).ainvoke("hi") == ask(fake) == JOKE
        await chat.root_async_client.close()
    assert [request.body for request in fake.asked[:2]] == [request.body for request in fake.asked[2:]]


def test_the_schema_is_the_end_of_the_system_part() -> None:
    with fake_deepseek(said(GOOD), said(GOOD)) as fake:
        ask(fake, prompt=[("system", "One."), ("system", "Two."), ("human", "hi"), ("system", "Three.")])
        ask(fake)
    roles = [role for role, _ in texts(fake, 0)]
    assert roles == ["system", "system", "user", "system"]
    assert texts(fake, 0)[1][1].startswith(
        "Two.\n\nAnswer with one JSON object that follows this JSON Schema"
    )
    assert "the question" in texts(fake, 0)[1][1]
    assert [role for role, _ in texts(fake, 1)] == ["system", "user"]


def test_json_mode_adds_the_word_only_where_it_is_missing() -> None:
    with fake_deepseek(said(GOOD), said(GOOD)) as fake:
        ask(fake, method="json_mode", prompt="As Json, please.")
        ask(fake, method="json_mode")
    assert texts(fake, 0) == [("user", "As Json, please.")]
    assert texts(fake, 1) == [("system", "Answer with one JSON object and nothing else."), ("user", "hi")]


def test_json_mode_needs_no_schema() -> None:
    with fake_deepseek(said('{"any": 1}'), said("[1]"), said("{}")) as fake:
        assert ask(fake, None, method="json_mode") == {"any": 1}
        assert ask(fake, None, method="json_mode") == {}
    assert "not an object" in texts(fake)[-1][1]


@pytest.mark.parametrize(
    ("strict", "sent_strict", "is_closed"), [(None, None, True), (True, True, True), (False, False, False)]
)
def test_any_model_gives_the_schema_to_a_backend_that_enforces_it(
    strict: bool | None, sent_strict: bool | None, is_closed: bool
) -> None:
    with fake_deepseek(said(GOOD)) as fake:
        theirs = langchain_deepseek.ChatDeepSeek(model="m", api_key="key", base_url=fake.url)
        asker = structured_output(theirs, Joke, native_json_schema=True, strict=strict)
        assert asker.invoke("hi") == JOKE
    sent = asked(fake)["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["name"] == "Joke"
    assert sent["json_schema"].get("strict") is sent_strict
    assert ("additionalProperties" in sent["json_schema"]["schema"]) == is_closed
    assert texts(fake) == [("user", "hi")]


def test_function_calling_forces_the_tool() -> None:
    with fake_deepseek(called(GOOD)) as fake:
        assert ask(fake, method="function_calling") == JOKE
    assert asked(fake)["tool_choice"]["function"]["name"] == "Joke"
    assert asked(fake)["tools"][0]["function"]["name"] == "Joke"


def test_a_model_that_answers_instead_of_calling_is_understood() -> None:
    with fake_deepseek(said(f"Here it is:\n```json\n{GOOD}\n```")) as fake:
        assert ask(fake, method="function_calling") == JOKE


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        (said(HALF), "- punchline: Field required"),
        (said("Why? Because."), "not a JSON object"),
        (said("   "), "was empty"),
        (said('{"setup": "Why', "length"), "was cut"),
        (said('{"setup": 1, "punchline": NaN}'), "not a JSON object"),
    ],
)
def test_an_answer_that_does_not_fit_goes_back_once(first: Any, complaint: str) -> None:
    with fake_deepseek(first, said(GOOD)) as fake:
        assert ask(fake) == JOKE
    role, text = texts(fake)[-1]
    assert role == "user"
    assert complaint in text
    assert texts(fake)[: len(texts(fake, 0))] == texts(fake, 0)
    assert ("assistant", "   ") not in texts(fake)


def test_json_mode_learns_the_schema_when_it_has_to_repair() -> None:
    with fake_deepseek(said(HALF), said(GOOD)) as fake:
        assert ask(fake, method="json_mode", prompt="json") == JOKE
    assert "the question" not in str(texts(fake, 0))
    assert "the question" in texts(fake)[-1][1]


@pytest.mark.parametrize("arguments", [HALF, '{"setup": '])
def test_a_call_that_does_not_fit_gets_its_errors_as_a_result(arguments: str) -> None:
    with fake_deepseek(called(arguments), called(GOOD)) as fake:
        assert ask(fake, method="function_calling") == JOKE
    call, result = asked(fake)["messages"][-2:]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"] == "call-1"
    assert "Call Joke again" in result["content"]
    assert asked(fake)["tool_choice"] == asked(fake, 0)["tool_choice"]


def test_after_one_repair_it_gives_up_with_the_output() -> None:
    with (
        fake_deepseek(said("no"), said(HALF)) as fake,
        pytest.raises(ChatStructuredOutputInvalidError) as info,
    ):
        ask(fake)
    assert isinstance(info.value, (errors.StructuredOutputInvalidError, OutputParserException))
    assert info.value.output == info.value.llm_output == HALF
    assert str(info.value) == "The answer does not follow the schema 'Joke':\n- punchline: Field required"
    assert info.value.help_message
    assert len(fake.asked) == 2


def test_repair_can_be_switched_off() -> None:
    with fake_deepseek(said(HALF)) as fake, pytest.raises(OutputParserException):
        ask(fake, repair=False)
    assert len(fake.asked) == 1


def test_thinking_that_ate_max_tokens_is_not_paid_for_twice() -> None:
    eaten = said("", "length", reasoning_content="Hmm", reasoning_tokens=3)
    with fake_deepseek(eaten) as fake, pytest.raises(ChatStructuredOutputInvalidError) as info:
        ask(fake)
    assert "cut at max_tokens before it began (3 of 3 tokens were reasoning)" in str(info.value)
    assert "max_tokens" in info.value.help_message
    assert "thinking" in info.value.help_message
    assert len(fake.asked) == 1


def test_what_the_content_filter_withheld_is_not_asked_again() -> None:
    with (
        fake_deepseek(said("", "content_filter")) as fake,
        pytest.raises(errors.StructuredOutputInvalidError, match="content filter"),
    ):
        ask(fake)
    assert len(fake.asked) == 1


@pytest.mark.parametrize(("second", "value"), [(GOOD, JOKE), (HALF, None)])
def test_include_raw_tells_how_it_came_about(second: str, value: Any) -> None:
    with fake_deepseek(said(HALF), said(second)) as fake:
        result = ask(fake, include_raw=True)
    note = result["raw"].response_metadata["structured_output"]
    assert note["method"] == "json_schema"
    assert note["repaired"] is True
    assert "punchline: Field required" in note["first_error"]
    assert result["raw"].content == second
    assert result["parsed"] == value
    assert (result["parsing_error"] is None) == (value is not None)


def test_nulls_fit_where_a_typed_dict_lost_them() -> None:
    text = '{"setup": "Why?", "punchline": null}'
    with fake_deepseek(said(text), said(text), said(GOOD)) as fake:
        assert ask(fake, JokeDict) == {"setup": "Why?", "punchline": None}
        assert ask(fake, Joke.model_json_schema()) == JOKE.model_dump()
    assert len(fake.asked) == 3


def test_tools_of_the_callers_may_be_called_instead() -> None:
    tool = {"type": "function", "function": {"name": "look", "description": "", "parameters": {}}}
    with fake_deepseek(called("{}", "look")) as fake:
        result = ask(fake, include_raw=True, tools=[tool])
    assert result["parsed"] is result["parsing_error"] is None
    assert result["raw"].tool_calls[0]["name"] == "look"
    assert asked(fake)["tools"][0]["function"]["name"] == "look"


def test_it_follows_a_prompt_template() -> None:
    with fake_deepseek(said(GOOD)) as fake:
        chain = ChatPromptTemplate.from_messages([("human", "About {what}")]) | structured_output(
            model(fake), Joke
        )
        assert chain.invoke({"what": "cats"}) == JOKE
    assert texts(fake)[-1] == ("user", "About cats")


def test_names_that_cannot_be_functions_are_changed() -> None:
    with fake_deepseek(called(GOOD, "A_joke_")) as fake:
        schema = {**Joke.model_json_schema(), "title": "A joke!"}
        assert ask(fake, schema, method="function_calling")["setup"] == "Why?"
    assert asked(fake)["tools"][0]["function"]["name"] == "A_joke_"


def test_classes_that_check_more_than_types_are_obeyed() -> None:
    class Even(BaseModelV1):
        n: int

        @validator("n", allow_reuse=True)
        def even(cls, n: int) -> int:  # noqa: N805
            if n % 2:
                raise ValueError("is odd")
            return n

    with fake_deepseek(said('{"n": 3}'), said('{"n": 4}')) as fake:
        assert ask(fake, Even) == Even(n=4)
    assert "- n: is odd" in texts(fake)[-1][1]


def test_many_faults_are_summed_up() -> None:
    schema = {"title": "Many", "properties": {f"p{i}": {"type": "string"} for i in range(20)}}
    answer = json.dumps({f"p{i}": i for i in range(20)})
    with fake_deepseek(said(answer), said("{}")) as fake:
        assert ask(fake, schema) == {}
    assert "- and 12 more" in texts(fake)[-1][1]


def test_a_reference_to_elsewhere_is_the_callers_mistake_and_fetches_nothing() -> None:
    schema = {"title": "X", "type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}}
    with fake_deepseek(said('{"a": 1}')) as fake, pytest.raises(errors.SettingsError, match="not in it"):
        ask(fake, schema)


def test_the_type_of_the_output_is_known() -> None:
    with fake_deepseek() as fake:
        assert structured_output(model(fake), Joke).OutputType is Joke
        assert structured_output(model(fake), Joke, include_raw=True).OutputType is dict


@pytest.mark.parametrize(
    ("schema", "method"),
    [(None, "json_schema"), (Joke, "regex"), (3, "json_schema"), ({"title": "x", "type": 3}, "json_mode")],
)
def test_mistakes_are_told_at_once(schema: Any, method: Any) -> None:
    with fake_deepseek() as fake, pytest.raises(errors.SettingsError) as info:
        structured_output(model(fake), schema, method=method)
    assert info.value.help_message
