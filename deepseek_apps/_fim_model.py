"""What a DeepSeekFIM is before a call: fields, clients, requests, its identity in caches and traces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import httpx2
from langchain_core.language_models import LangSmithParams
from langchain_core.language_models.llms import BaseLLM
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from deepseek_apps._fim_results import split_at_hole
from deepseek_apps.backend_client import AsyncBackendClient, BackendClient
from deepseek_apps.backends.replies import check_status, read_json
from deepseek_apps.client import AsyncDeepSeek, DeepSeek
from deepseek_apps.routing.deadline import DEADLINE_HEADER
from deepseek_apps.sdk.fim import check_max_tokens
from deepseek_apps.tokens import token_ids

__all__ = ["FimModel"]

# Sent when they are set; names are those of the API.
PARAMETERS = (
    "max_tokens", "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty",
    "logprobs", "echo", "user_id", "extra_body",
)  # fmt: skip
# Arguments of a call that stand for fields of the model, and those that LangChain itself takes.
CALL_FIELDS = (*PARAMETERS, "model", "suffix", "fill_marker", "streaming")
LANGCHAIN_ARGUMENTS = ("tags", "metadata", "run_name", "run_id")


class FimModel(BaseLLM):
    """The fields of DeepSeekFIM, which documents them."""

    model_config = ConfigDict(populate_by_name=True, extra="forbid")

    model_name: str = Field(default="", alias="model")
    backend: str | None = None
    api_base: str | list[str] | None = Field(default=None, alias="base_url")
    api_key: SecretStr | None = None
    suffix: str | None = None
    fill_marker: str | None = "<FILL>"
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | list[str] | None = None
    logprobs: int | None = None
    echo: bool | None = None
    user_id: str | None = None
    streaming: bool = False
    request_timeout: float | httpx2.Timeout | None = Field(default=None, alias="timeout")
    deadline: float | None = Field(default=None, gt=0)
    max_retries: int | None = None
    default_headers: Mapping[str, str] | None = None
    default_query: Mapping[str, object] | None = None
    http_client: httpx2.Client | None = Field(default=None, exclude=True, repr=False)
    http_async_client: httpx2.AsyncClient | None = Field(default=None, exclude=True, repr=False)
    extra_body: Mapping[str, Any] | None = None
    model_kwargs: dict[str, Any] = Field(default_factory=dict)

    _client: DeepSeek = PrivateAttr()
    _async_client: AsyncDeepSeek = PrivateAttr()

    @model_validator(mode="after")
    def _make_clients(self) -> Self:
        options: dict[str, Any] = {
            "backend": self.backend,
            "model": self.model_name or None,
            "base_url": self.api_base,
            "api_key": self.api_key,
            "max_retries": self.max_retries,
            "default_headers": self.default_headers,
            "default_query": self.default_query,
        }
        if self.request_timeout is not None:
            options["timeout"] = self.request_timeout
        if self.deadline is not None:
            deadline = {DEADLINE_HEADER: str(self.deadline)}
            options["default_headers"] = {**(self.default_headers or {}), **deadline}
        sync, other = self.http_client, self.http_async_client
        # A client for one half speaks for the other too: no request may go where the caller did not send it.
        if sync is None and isinstance(other, AsyncBackendClient):
            sync = BackendClient(other.backend)
        if other is None and isinstance(sync, BackendClient):
            other = AsyncBackendClient(sync.backend)
        self._client = DeepSeek(http_client=sync, **options)
        self._async_client = AsyncDeepSeek(http_client=other, **options)
        check_max_tokens(self.max_tokens, self._client.backend_name)
        return self

    def get_token_ids(self, text: str) -> list[int]:
        """Return the tokens of a text: the local model's own, and DeepSeek's for the others.

        Raises:
            BackendError: The local model's tokenizer cannot be read.
        """
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        if self._client.backend_name != "local":
            return token_ids(text)
        response = self._client._client.post("tokenize", json={"model": self._answering, "prompt": text})
        check_status(response)
        return list(read_json(response)["tokens"])

    def _request(self, prompt: str, stop: list[str] | None) -> dict[str, Any]:
        """Return the arguments of `client.fim.create`."""
        before, after = (
            (prompt, self.suffix) if self.suffix is not None else split_at_hole(prompt, self.fill_marker)
        )
        request = {"prompt": before, "suffix": after, "stop": self.stop if stop is None else stop}
        if self.model_name:
            request["model"] = self.model_name
        return {**request, **self._parameters, **self.model_kwargs}

    def _stream_request(self, prompt: str, stop: list[str] | None) -> dict[str, Any]:
        # Servers of other makes report usage in streams only when asked.
        usage = {"stream_options": {"include_usage": True}}
        return {**usage, **self._request(prompt, stop), "stream": True}

    def _with(self, kwargs: dict[str, Any]) -> tuple[Self, dict[str, Any]]:
        """Return this model with a call's arguments as its fields, and the arguments that are LangChain's.

        LangChain's cache looks at a model's fields only: an argument that stayed one would be answered with
        what was cached for another value.
        """
        langchain = {name: kwargs[name] for name in LANGCHAIN_ARGUMENTS if name in kwargs}
        given = {name: value for name, value in kwargs.items() if name not in langchain}
        if not given:
            return self, langchain
        own = {name: value for name, value in given.items() if name in CALL_FIELDS}
        if "model" in own:
            own["model_name"] = own.pop("model")
        other = {name: value for name, value in given.items() if name not in CALL_FIELDS}
        copied = self.model_copy(update={**own, "model_kwargs": {**self.model_kwargs, **other}})
        copied.__dict__.pop("_serialized", None)  # LangChain's own memory of the fields
        return copied, langchain

    @property
    def _parameters(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in PARAMETERS}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def _answering(self) -> str:
        return self.model_name or self._client._backend.default_model or ""

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "model_name": self._answering,
            "backend": self._client.backend_name,
            "base_url": str(self._client.base_url),
            "suffix": self.suffix,
            "fill_marker": self.fill_marker,
            "default_stop": self.stop,  # LangChain overwrites `stop` by that of the call
            **self._parameters,
            "model_kwargs": self.model_kwargs,
        }

    @property
    def _llm_type(self) -> str:
        return "deepseek-fim"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        parameters = super()._get_ls_params(stop=stop, **kwargs)
        parameters["ls_provider"] = "deepseek"
        parameters["ls_model_name"] = str(kwargs.get("model") or self._answering)
        return parameters

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """True: the model can be saved with LangChain's `dumpd` and loaded again."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Name of the variable that holds the key; the key itself is never serialised."""
        return {"api_key": "DEEPSEEK_API_KEY"}
