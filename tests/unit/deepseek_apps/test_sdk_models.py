"""client.models on every backend: the list, and one of the list."""

from __future__ import annotations

import openai
import pytest
from fake_deepseek import FakeDeepSeek, models

from deepseek_apps import AsyncDeepSeek, DeepSeek, SettingsError


def hosted(fake: FakeDeepSeek) -> DeepSeek:
    return DeepSeek(backend="hosted", base_url=fake.url, api_key="sk", max_retries=0)


def test_the_list_is_the_backends_own(fake: FakeDeepSeek) -> None:
    fake.script.append(models("a", "b"))
    with hosted(fake) as client:
        assert [model.id for model in client.models.list()] == ["a", "b"]


@pytest.mark.parametrize("name", ["deepseek-flash", "deepseek-v4-flash"])
def test_one_model_comes_from_the_list_by_any_name(name: str, fake: FakeDeepSeek) -> None:
    with hosted(fake) as client:
        model = client.models.retrieve(name)
        assert client.models.with_raw_response.retrieve(name).parse() == model
    assert (model.id, model.owned_by) == ("deepseek-flash", "deepseek")
    assert {asked.path for asked in fake.asked} == {"/models"}


async def test_one_model_comes_from_the_list_asynchronously(fake: FakeDeepSeek) -> None:
    async with AsyncDeepSeek(backend="server", base_url=f"{fake.url}/v1") as client:
        assert (await client.models.retrieve("deepseek-flash", timeout=3)).id == "deepseek-flash"
    assert fake.asked[-1].path == "/v1/models"


def test_a_model_that_is_not_served_is_the_sdks_error(fake: FakeDeepSeek) -> None:
    with (
        hosted(fake) as client,
        pytest.raises(openai.NotFoundError, match="it serves: deepseek-flash") as caught,
    ):
        client.models.retrieve("gpt")
    assert caught.value.status_code == 404
    assert caught.value.code == "model_not_found"


def test_a_retired_name_says_what_to_use(fake: FakeDeepSeek) -> None:
    with hosted(fake) as client, pytest.raises(SettingsError, match="retired"):
        client.models.retrieve("deepseek-reasoner")
