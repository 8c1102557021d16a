"""What ChatDeepSeek knows before a call: its clients, its parameters, its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import Runnable, RunnableBinding

from deepseek_apps.backend_client import AsyncBackendClient, BackendClient
from deepseek_apps.backends.replies import check_status, read_json
from deepseek_apps.client import AsyncDeepSeek, DeepSeek
from deepseek_apps.errors import SettingsError
from deepseek_apps.thinking import thinking_field
from deepseek_apps.tokens import count_with_backend
from deepseek_apps.tokens import token_ids as deepseek_token_ids
from deepseek_apps.wire.tool_schema import plain_tools, strict_tools

if TYPE_CHECKING:
    from deepseek_apps.chat_model import ChatDeepSeek

__all__ = [
    "backend_identity",
    "check_parameters",
    "count_tokens",
    "default_parameters",
    "make_clients",
    "streamed",
    "strictly",
    "token_ids",
    "wire_tools",
]

DEADLINE_HEADER = "x-deepseek-apps-deadline"
# Longest user_id the hosted API takes, in bytes.
USER_ID_BYTES = 512
# Sent when they are set; names are those of the API.
PARAMETERS = (
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "top_p",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "max_tokens",
    "extra_body",
    "n",
    "temperature",
    "reasoning_effort",
    "user_id",
)
# Fields of the base that only mean something to OpenAI's own API.
FOREIGN = (
    "reasoning",
    "verbosity",
    "context_management",
    "include",
    "prompt_cache_options",
    "service_tier",
    "truncation",
    "store",
    "use_previous_response_id",
    "use_responses_api",
    "openai_proxy",
)


def check_parameters(model: ChatDeepSeek) -> None:
    """Refuse what cannot be sent.

    Raises:
        SettingsError: A parameter is unusable; the message says what to do.
    """
    if model.user_id is not None and len(model.user_id.encode()) > USER_ID_BYTES:
        raise SettingsError(
            f"user_id has {len(model.user_id.encode())} bytes, and the API takes {USER_ID_BYTES}",
            help_message="Pass a shorter one, such as a hash of it.",
        )
    for name in FOREIGN:
        if getattr(model, name):
            raise SettingsError(
                f"{name}={getattr(model, name)!r} means nothing to DeepSeek",
                help_message="Leave it out; there are thinking, reasoning_effort and http_client instead.",
            )


def make_clients(model: ChatDeepSeek) -> None:
    """Give the model its clients, unless it is a copy that holds ones for the same backend.

    Raises:
        SettingsError: Something is missing or contradictory.
        AuthenticationError: The hosted API was chosen and there is no key for it.
    """
    options = _client_options(model)
    http_client, http_async_client = _http_clients(model)
    client = DeepSeek(http_client=http_client, **options)
    if not _same(model.root_client, client):
        model.root_client = client
        model.client = client.chat.completions
    async_client = AsyncDeepSeek(http_client=http_async_client, **options)
    if not _same(model.root_async_client, async_client):
        model.root_async_client = async_client
        model.async_client = async_client.chat.completions


def _http_clients(model: ChatDeepSeek) -> tuple[Any, Any]:
    """Return both HTTP clients; one of ours decides for both, or half of the methods would ask another."""
    one, other = model.http_client, model.http_async_client
    if other is None and isinstance(one, BackendClient):
        return one, _twin(one, AsyncBackendClient)
    if one is None and isinstance(other, AsyncBackendClient):
        return _twin(other, BackendClient), other
    return one, other


def _twin(
    client: BackendClient | AsyncBackendClient, kind: type[BackendClient | AsyncBackendClient]
) -> BackendClient | AsyncBackendClient:
    made = kind(client.backend, deadline=client.deadline)
    made.timeout = client.timeout
    return made


def _client_options(model: ChatDeepSeek) -> dict[str, Any]:
    options: dict[str, Any] = {
        "backend": model.backend,
        "model": model.model_name or None,
        "max_retries": model.max_retries,
        "default_query": model.default_query,
        "default_headers": model.default_headers,
        "base_url": model.api_base,
        "api_key": _key(model),
    }
    if model.request_timeout is not None:
        options["timeout"] = model.request_timeout
    if model.deadline is not None:
        options["default_headers"] = {**(model.default_headers or {}), DEADLINE_HEADER: str(model.deadline)}
    return options


def _key(model: ChatDeepSeek) -> Any:
    """Return the key to hand to the client: the caller's, or the environment's for the environment's address.

    A key that merely is in the environment is not for an address that the caller named: the client takes it
    from there itself, for DeepSeek's API only.
    """
    given = model.model_fields_set
    if "api_key" in given or (model.api_base is not None and not {"api_base", "base_url"} & given):
        return model.api_key
    return None


def _same(held: object, made: DeepSeek | AsyncDeepSeek) -> bool:
    if not isinstance(held, type(made)):
        return False
    names = ("_backend", "base_url", "timeout", "max_retries", "_custom_headers", "_custom_query")
    return all(getattr(held, name) == getattr(made, name) for name in names)


def default_parameters(model: ChatDeepSeek) -> dict[str, Any]:
    """Return the parameters of every call, in wire form; what is not set is left to the backend."""
    values: dict[str, Any] = {}
    if model.model_name:
        values["model"] = model.model_name
    for name in PARAMETERS:
        if (value := getattr(model, name)) is not None:
            values[name] = value
    if model.stop:
        values["stop"] = model.stop
    if model.thinking is not None:
        values["thinking"] = thinking_field(model.thinking)
    return {**values, **model.model_kwargs}


def streamed(model: ChatDeepSeek, kwargs: dict[str, Any], *, stream_usage: bool | None) -> dict[str, Any]:
    """Return the arguments of a streamed call; usage is asked for unless the caller declined it."""
    wanted = model.stream_usage if stream_usage is None else stream_usage
    if "stream_options" not in kwargs and wanted is not False:
        kwargs = {**kwargs, "stream_options": {"include_usage": True}}
    return {**kwargs, "stream": True}


def backend_identity(model: ChatDeepSeek) -> dict[str, str]:
    """Return what tells this model's backend from others."""
    client = model.root_client
    return {
        "backend": client.backend_name,
        "base_url": str(client.base_url),
        "model": model.model_name or str(client._backend.default_model or ""),
    }


def wire_tools(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the tools as the API accepts them; where one is strict, all are."""
    strict = any((tool.get("function") or {}).get("strict") for tool in tools)
    return strict_tools(tools) if strict else plain_tools(tools)


def strictly(bound: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Return a binding whose tools are all strict; the base leaves those alone that came as dicts."""
    tools = [
        {**tool, "function": {**tool["function"], "strict": True}} if "function" in tool else tool
        for tool in cast(RunnableBinding[Any, Any], bound).kwargs["tools"]
    ]
    return bound.bind(tools=tools)


def token_ids(model: ChatDeepSeek, text: str) -> list[int]:
    """Return the tokens of a text: the local model's own, and DeepSeek's for the others."""
    if model.root_client.backend_name != "local":
        return deepseek_token_ids(text)
    body = {"model": backend_identity(model)["model"], "prompt": text}
    response = model.root_client._client.post("tokenize", json=body)
    check_status(response)
    return list(read_json(response)["tokens"])


def count_tokens(model: ChatDeepSeek, body: Mapping[str, Any]) -> int:
    """Count the tokens of a request's prompt, markup and tools included."""
    named = {**body, "model": body.get("model") or backend_identity(model)["model"]}
    return count_with_backend(model.root_client._client, named)
