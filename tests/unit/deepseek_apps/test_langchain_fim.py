"""DeepSeekFIM over a loopback DeepSeek: where the hole is, what is sent, what comes back."""

from __future__ import annotations

import json
import pickle
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from fake_deepseek import FakeDeepSeek, error
from fim_replies import fim_body, fim_reply, fim_stream
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import ModelError
from langchain_core.load import dumps, load
from langchain_core.outputs import GenerationChunk

from deepseek_apps import SettingsError, errors, http_client
from deepseek_apps._fim_results import split_at_hole
from deepseek_apps.langchain_fim import DeepSeekFIM

BEFORE, AFTER = "def add(a, b):\n    ", "\n\nprint(add(1, 2))"
_made: list[DeepSeekFIM] = []


@pytest.fixture(autouse=True)
async def close() -> AsyncIterator[None]:
    """LangChain's models live as long as their process; a test must not leave connections behind."""
    yield
    while _made:
        model = _made.pop()
        model._client.close()
        await model._async_client.close()


@pytest.fixture
def fim(fake: FakeDeepSeek) -> DeepSeekFIM:
    return hosted(fake)


def hosted(fake: FakeDeepSeek, **fields: Any) -> DeepSeekFIM:
    options: dict[str, Any] = {"base_url": fake.url, "api_key": "sk-secret", "max_retries": 0, **fields}
    _made.append(DeepSeekFIM(backend="hosted", **options))
    return _made[-1]


def sent(fake: FakeDeepSeek) -> dict[str, Any]:
    body: dict[str, Any] = fake.asked[-1].body
    return body


def test_the_hole_is_marked_passed_bound_or_a_field(fim: DeepSeekFIM, fake: FakeDeepSeek) -> None:
    fake.script += [fim_reply("x")] * 4
    fim.invoke(f"{BEFORE}<FILL>{AFTER}")
    fim.complete(BEFORE, AFTER)
    fim.bind(suffix=AFTER).invoke(BEFORE)
    assert hosted(fake, suffix=AFTER).invoke(BEFORE) == "x"
    assert [asked.body for asked in fake.asked] == [
        {"model": "deepseek-flash", "prompt": BEFORE, "suffix": AFTER}
    ] * 4
    assert {asked.path for asked in fake.asked} == {"/beta/completions"}


def test_a_prompt_without_a_hole_is_continued(fim: DeepSeekFIM, fake: FakeDeepSeek) -> None:
    fake.script += [fim_reply("x")] * 2
    fim.invoke(BEFORE)
    assert sent(fake) == {"model": "deepseek-flash", "prompt": BEFORE}
    hosted(fake, fill_marker=None).invoke("a<FILL>b")
    assert sent(fake)["prompt"] == "a<FILL>b"


def test_a_suffix_lets_the_prompt_be_taken_as_it_is(fim: DeepSeekFIM, fake: FakeDeepSeek) -> None:
    fake.script.append(fim_reply("x"))
    fim.complete("a<FILL>b<FILL>", "c")
    assert (sent(fake)["prompt"], sent(fake)["suffix"]) == ("a<FILL>b<FILL>", "c")


def test_two_holes_are_refused(fim: DeepSeekFIM, fake: FakeDeepSeek) -> None:
    with pytest.raises(SettingsError, match="2 holes"):
        fim.invoke("a<FILL>b<FILL>c")
    assert fake.asked == []


@given(st.text(), st.text())
def test_a_marked_hole_splits_at_the_marker_and_nowhere_else(before: str, after: str) -> None:
    assert split_at_hole(f"{before}<FILL>{after}", "<FILL>") == (before, after)
    assert split_at_hole(before, "<FILL>") == (before, None)


def test_parameters_are_sent_and_a_call_may_change_them(fake: FakeDeepSeek) -> None:
    fake.script += [fim_reply("x")] * 2
    fim = hosted(fake, model="deepseek-v4-pro", max_tokens=5, temperature=0, stop="\n", user_id="u")
    fim.invoke(BEFORE)
    own = {"max_tokens": 5, "temperature": 0, "stop": "\n", "user_id": "u"}
    assert sent(fake) == {"model": "deepseek-v4-pro", "prompt": BEFORE, **own}
    fim.invoke(BEFORE, stop=["#"], temperature=1.5, model="deepseek-flash")
    assert sent(fake) == {
        **own, "model": "deepseek-flash", "prompt": BEFORE, "temperature": 1.5, "stop": ["#"]
    }  # fmt: skip
    assert fim.temperature == 0


def test_usage_and_facts_are_in_the_generation(fim: DeepSeekFIM, fake: FakeDeepSeek) -> None:
    fake.script += [fim_reply("a"), fim_reply("b")]
    result = fim.generate(["one", "two"])
    info = result.generations[0][0].generation_info
    assert info is not None
    assert info["finish_reason"] == "stop"
    assert info["model_name"] == "deepseek-flash"
    assert info["usage_metadata"]["input_token_details"] == {"cache_read": 128}
    assert result.llm_output is not None
    assert result.llm_output["token_usage"]["total_tokens"] == 2 * 215
    assert result.llm_output["model_name"] == "deepseek-flash"


class Watcher(BaseCallbackHandler):
    """Keeps the pieces it is told of."""

    def __init__(self) -> None:
        self.pieces: list[str] = []

    def on_llm_new_token(self, token: str, **_: Any) -> None:
        self.pieces.append(token)


def test_streamed_pieces_fold_to_the_whole(fake: FakeDeepSeek) -> None:
    fake.script += [fim_stream("return", " a"), fim_stream("return", " a"), fim_reply("return a")]
    watcher = Watcher()
    assert "".join(hosted(fake).stream(BEFORE, config={"callbacks": [watcher]})) == "return a"
    assert sent(fake)["stream_options"] == {"include_usage": True}
    assert "".join(watcher.pieces) == "return a"
    streamed, whole = hosted(fake, streaming=True), hosted(fake)
    assert streamed.generate([BEFORE]).generations == [[_as_generation(whole.generate([BEFORE]))]]


async def test_streamed_pieces_fold_to_the_whole_asynchronously(fake: FakeDeepSeek) -> None:
    fake.script += [fim_stream("return", " a"), fim_stream("return", " a"), fim_reply("return a")]
    watcher = Watcher()
    pieces = [piece async for piece in hosted(fake).astream(BEFORE, config={"callbacks": [watcher]})]
    assert "".join(pieces) == "".join(watcher.pieces) == "return a"
    streamed = await hosted(fake, streaming=True).agenerate([BEFORE])
    assert streamed.generations == [[_as_generation(await hosted(fake).agenerate([BEFORE]))]]


def _as_generation(result: Any) -> Any:
    return result.generations[0][0]


def test_usage_on_a_chunk_of_its_own_is_kept(fake: FakeDeepSeek) -> None:
    from fake_deepseek import USAGE, event_stream

    texts = [fim_body("a", None), fim_body("", "stop", usage=None), fim_body("", choices=[], usage=USAGE)]
    events = [f"data: {json.dumps(body)}\n\n".encode() for body in texts]
    fake.script.append(event_stream(*events, b"data: [DONE]\n\n"))
    result = hosted(fake, streaming=True).generate([BEFORE])
    info = result.generations[0][0].generation_info or {}
    assert (info["finish_reason"], info["usage"]["total_tokens"]) == ("stop", 215)


def test_a_batch_keeps_its_order(fim: DeepSeekFIM, fake: FakeDeepSeek) -> None:
    fake.script += [fim_reply("same")] * 12
    prompts = [f"prompt {number}" for number in range(12)]
    assert fim.batch(prompts) == ["same"] * 12
    assert sorted(asked.body["prompt"] for asked in fake.asked) == sorted(prompts)


async def test_a_batch_is_asked_asynchronously(fim: DeepSeekFIM, fake: FakeDeepSeek) -> None:
    fake.script += [fim_reply("same")] * 3
    assert await fim.abatch(["a", "b", "c"]) == ["same"] * 3
    fake.script.append(fim_reply("x"))
    assert await fim.acomplete(BEFORE, AFTER) == "x"


def test_failures_are_ours_langchains_and_the_sdks(fim: DeepSeekFIM, fake: FakeDeepSeek) -> None:
    fake.script.append(error(402, "Insufficient Balance"))
    with pytest.raises(errors.InsufficientBalanceError) as caught:
        fim.invoke(BEFORE)
    assert isinstance(caught.value, ModelError)
    assert isinstance(caught.value, openai.APIStatusError)


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_answer_given_up_half_way_is_an_error(streaming: bool, fake: FakeDeepSeek) -> None:
    given_up = "insufficient_system_resource"
    reply = fim_stream("a", finish_reason=given_up) if streaming else fim_reply("a", given_up)
    fake.script += [reply] * 2
    fim = hosted(fake, streaming=streaming)
    with pytest.raises(errors.OverloadedError):
        fim.invoke(BEFORE)
    with pytest.raises(errors.OverloadedError):
        await fim.ainvoke(BEFORE)


def test_the_cache_tells_suffixes_parameters_and_backends_apart(fake: FakeDeepSeek) -> None:
    fake.script += [fim_reply(text) for text in "abcde"]
    cache = InMemoryCache()
    fim = hosted(fake, cache=cache)
    calls: list[dict[str, Any]] = [{"suffix": "1"}, {"suffix": "2"}, {"suffix": "2", "temperature": 0.5}]
    assert [fim.invoke(BEFORE, **call) for call in calls] == ["a", "b", "c"]
    assert hosted(fake, cache=cache, suffix="1", stop="x").invoke(BEFORE) == "d"
    assert hosted(fake, cache=cache, suffix="1", base_url=f"{fake.url}/v1").invoke(BEFORE) == "e"
    assert [fim.invoke(BEFORE, **call) for call in calls] == ["a", "b", "c"]
    assert len(fake.asked) == 5


@pytest.mark.filterwarnings("ignore:The function `load` is in beta")
def test_the_key_is_in_no_text_and_a_saved_model_is_the_same(fim: DeepSeekFIM, fake: FakeDeepSeek) -> None:
    saved = dumps(fim.model_copy(update={"suffix": AFTER}))
    for text in (repr(fim), str(fim), saved, str(fim.asdict()), json.dumps(fim._identifying_params)):
        assert "sk-secret" not in text
    loaded = load(
        json.loads(saved),
        allowed_objects=[DeepSeekFIM],
        valid_namespaces=["deepseek_apps"],
        secrets_map={"DEEPSEEK_API_KEY": "sk-other"},
    )
    _made.append(loaded)
    fake.script.append(fim_reply("x"))
    assert loaded.invoke(BEFORE) == "x"
    assert sent(fake)["suffix"] == AFTER
    assert fake.asked[0].headers["authorization"] == "Bearer sk-other"


def test_a_pickled_model_answers(fim: DeepSeekFIM, fake: FakeDeepSeek) -> None:
    fake.script.append(fim_reply("x"))
    _made.append(pickle.loads(pickle.dumps(fim)))
    assert _made[-1].invoke(BEFORE) == "x"


async def test_one_given_client_speaks_for_both_halves(fake: FakeDeepSeek) -> None:
    fim = DeepSeekFIM(http_client=http_client("server", base_url=fake.url, model="m"))
    _made.append(fim)
    fake.script += [fim_reply("x")] * 8
    await fim.ainvoke(BEFORE)
    assert sent(fake)["model"] == "m"


def test_what_cannot_be_sent_is_refused_at_construction(fake: FakeDeepSeek) -> None:
    with pytest.raises(SettingsError, match="4097"):
        hosted(fake, max_tokens=4097)
    with pytest.raises(ValueError, match="temperatur"):
        DeepSeekFIM(backend="local", temperatur=1)
    with pytest.raises(errors.AuthenticationError):
        DeepSeekFIM(backend="hosted")


def test_traces_name_provider_and_model(fim: DeepSeekFIM) -> None:
    parameters = fim._get_ls_params(stop=["x"], temperature=0.5)
    assert parameters["ls_provider"] == "deepseek"
    assert parameters["ls_model_name"] == "deepseek-flash"
    assert parameters["ls_model_type"] == "llm"


def test_tokens_are_counted_offline_and_exactly(fim: DeepSeekFIM, fake: FakeDeepSeek) -> None:
    assert fim.get_num_tokens("") == 0
    assert fim.get_num_tokens("def add(a, b):") == len(fim.get_token_ids("def add(a, b):")) == 6
    assert fake.asked == []


def test_a_deadline_never_leaves_this_machine(fake: FakeDeepSeek) -> None:
    fake.script.append(fim_reply("x"))
    assert hosted(fake, deadline=5, default_headers={"x-mine": "1"}).invoke(BEFORE) == "x"
    assert fake.asked[0].headers["x-mine"] == "1"
    assert not any("deadline" in name for name in fake.asked[0].headers)


def test_a_chunk_is_langchains(fim: DeepSeekFIM, fake: FakeDeepSeek) -> None:
    fake.script.append(fim_stream("a"))
    chunks = list(fim._stream(BEFORE))
    assert all(isinstance(chunk, GenerationChunk) for chunk in chunks)
