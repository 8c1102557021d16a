"""`client.models`: the SDK's resource, with `retrieve` for backends that only have the list.

Neither DeepSeek's API nor most servers answer `GET /models/NAME`; the list says the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import httpx2
from openai import BaseModel, NotFoundError, NotGiven, not_given
from openai.resources.models import AsyncModels, Models
from openai.types import Model

if TYPE_CHECKING:
    from deepseek_apps.sdk.extras import AsyncExtras, SyncExtras

__all__ = ["AsyncDeepSeekModels", "DeepSeekModels"]

PATH = "/models"


class ModelList(BaseModel):
    """The reply to `GET /models`."""

    data: list[Model]


class DeepSeekModels(Models):
    """`client.models`."""

    _client: SyncExtras

    def retrieve(
        self,
        model: str,
        *,
        extra_headers: Mapping[str, Any] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: object | None = None,
        timeout: float | httpx2.Timeout | NotGiven | None = not_given,
    ) -> Model:
        """Return one model of the list, by its name or an alias.

        Raises:
            openai.NotFoundError: The backend serves no such model; the message lists what it serves.
            SettingsError: The name is retired.
        """
        pick = partial(_pick, name=self._client._backend.model_name(model), url=self._client.base_url)
        options = _options(pick, extra_headers, extra_query, extra_body, timeout)
        return self._get(PATH, cast_to=cast("type[Model]", ModelList), options=options)


class AsyncDeepSeekModels(AsyncModels):
    """The asynchronous twin of DeepSeekModels."""

    _client: AsyncExtras

    async def retrieve(
        self,
        model: str,
        *,
        extra_headers: Mapping[str, Any] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: object | None = None,
        timeout: float | httpx2.Timeout | NotGiven | None = not_given,
    ) -> Model:
        """Return one model of the list; see `DeepSeekModels.retrieve`."""
        pick = partial(_pick, name=self._client._backend.model_name(model), url=self._client.base_url)
        options = _options(pick, extra_headers, extra_query, extra_body, timeout)
        return await self._get(PATH, cast_to=cast("type[Model]", ModelList), options=options)


def _options(
    pick: partial[Model],
    headers: Mapping[str, Any] | None,
    query: Mapping[str, object] | None,
    body: object | None,
    timeout: float | httpx2.Timeout | NotGiven | None,
) -> Any:
    """Return the SDK's request options; its post_parser also serves `with_raw_response`."""
    given = {"headers": headers, "params": query, "extra_json": body}
    options = {name: value for name, value in given.items() if value is not None}
    patience = {} if isinstance(timeout, NotGiven) else {"timeout": timeout}
    return {**options, **patience, "post_parser": pick}


def _pick(listed: ModelList, *, name: str, url: httpx2.URL) -> Model:
    for model in listed.data:
        if model.id == name:
            return model
    served = ", ".join(model.id for model in listed.data) or "none"
    message = f"no model {name!r} at {url}; it serves: {served}"
    body = {"message": message, "type": "invalid_request_error", "param": None, "code": "model_not_found"}
    response = httpx2.Response(404, request=httpx2.Request("GET", f"{str(url).rstrip('/')}{PATH}"))
    raise NotFoundError(message, response=response, body=body)
