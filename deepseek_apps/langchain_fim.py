"""DeepSeekFIM: completion in the middle as a LangChain LLM, over any backend.

Text in, text out; conversations are ChatDeepSeek's. What is sent is `client.fim`'s business.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun, Callbacks
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.runnables.config import ContextThreadPoolExecutor

from deepseek_apps._fim_model import FimModel
from deepseek_apps._fim_results import as_langchain_errors, chunk_of, folded, generation_of, result_of

__all__ = ["DeepSeekFIM"]

# Prompts of one batch that are asked at once, where the caller sets no max_concurrency.
MAX_AT_ONCE = 8


class DeepSeekFIM(FimModel):
    r"""Completion in the middle as a LangChain LLM: on the hosted API, this machine, or a server of yours.

    The text after the hole is given with the call, with the model, or in the prompt after a marker:

        fim = DeepSeekFIM(max_tokens=64)
        fim.complete("def add(a, b):\n    ", "\n\nprint(add(1, 2))")
        fim.invoke("def add(a, b):\n    <FILL>\n\nprint(add(1, 2))")
        fim.bind(suffix="\n").invoke("def add(a, b):\n    ")

    Construction opens no connection and loads no model.

    Args:
        model: Model name; without one the backend's own default.
        backend, base_url, api_key, timeout, max_retries, default_headers, default_query: As for `DeepSeek`.
        deadline: Seconds a whole call may take; `timeout` is the longest silence.
        http_client, http_async_client: Clients made by `deepseek_apps.http_client` and its twin.
        suffix: Text after the hole; prompts are then taken as they are.
        fill_marker: What marks the hole in a prompt; None looks for none.
        max_tokens: At most 4096 on the hosted API and on this machine.
        temperature, top_p, seed, presence_penalty, frequency_penalty, stop: As the API has them.
        logprobs: How many likely tokens to report per place, 0 to 20.
        echo: Whether the text before the hole is returned too.
        user_id: Keeps one user's cache and limits apart from another's.
        streaming: Whether `invoke` streams, for callbacks that watch tokens.
        model_kwargs: Further arguments of `client.fim.create`; extra_body holds further members of the body.

    Raises:
        SettingsError: Something is missing or contradictory; the message says what to do.
        BackendError: While calling; one of langchain_errors.py, which are LangChain's and the SDK's too.
    """

    def complete(self, prefix: str, suffix: str = "", **kwargs: Any) -> str:
        """Return the text between prefix and suffix, both taken as they are."""
        return self.invoke(prefix, suffix=suffix, **kwargs)

    async def acomplete(self, prefix: str, suffix: str = "", **kwargs: Any) -> str:
        """Return the text between prefix and suffix, asynchronously."""
        return await self.ainvoke(prefix, suffix=suffix, **kwargs)

    def generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Complete several prompts; arguments of the call become part of the cache's key."""
        model, rest = self._with(kwargs)
        return super(DeepSeekFIM, model).generate(prompts, stop, callbacks, **rest)

    async def agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Complete several prompts asynchronously; as `generate`."""
        model, rest = self._with(kwargs)
        return await super(DeepSeekFIM, model).agenerate(prompts, stop, callbacks, **rest)

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        model, _ = self._with(kwargs)

        def one(prompt: str) -> Generation:
            if model.streaming:
                return folded(model._stream(prompt, stop, run_manager))
            with as_langchain_errors():
                return generation_of(model._client.fim.create(**model._request(prompt, stop)))

        if len(prompts) == 1:
            return result_of([one(prompts[0])], model._answering)
        with ContextThreadPoolExecutor(max_workers=min(len(prompts), MAX_AT_ONCE) or 1) as pool:
            return result_of(list(pool.map(one, prompts)), model._answering)

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        model, _ = self._with(kwargs)
        slots = asyncio.Semaphore(MAX_AT_ONCE)

        async def one(prompt: str) -> Generation:
            async with slots:
                if model.streaming:
                    return folded([chunk async for chunk in model._astream(prompt, stop, run_manager)])
                with as_langchain_errors():
                    request = model._request(prompt, stop)
                    return generation_of(await model._async_client.fim.create(**request))

        tasks = [asyncio.ensure_future(one(prompt)) for prompt in prompts]
        try:
            return result_of(list(await asyncio.gather(*tasks)), model._answering)
        finally:  # where one fails, the answers to the others are not waited for
            for task in tasks:
                task.cancel()

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        model, _ = self._with(kwargs)
        with as_langchain_errors(), model._client.fim.create(**model._stream_request(prompt, stop)) as pieces:
            for piece in pieces:
                chunk = chunk_of(piece)
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        model, _ = self._with(kwargs)
        with as_langchain_errors():
            async with await model._async_client.fim.create(**model._stream_request(prompt, stop)) as pieces:
                async for piece in pieces:
                    chunk = chunk_of(piece)
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
