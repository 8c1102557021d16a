"""DeepSeekFIM's pure half: prompts with a marked hole, and completions as LangChain's generations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from openai.types import Completion

from deepseek_apps.errors import SettingsError
from deepseek_apps.langchain_errors import chat_error
from deepseek_apps.sdk.fim import check_complete, completion_text
from deepseek_apps.usage import usage_metadata

__all__ = ["as_langchain_errors", "chunk_of", "folded", "generation_of", "result_of", "split_at_hole"]

SUMMED = ("prompt_tokens", "completion_tokens", "total_tokens")
CACHE_COUNTS = ("prompt_cache_hit_tokens", "prompt_cache_miss_tokens")


def split_at_hole(prompt: str, marker: str | None) -> tuple[str, str | None]:
    """Return the text before and after the hole; None for after if no hole is marked.

    Raises:
        SettingsError: There is more than one hole.
    """
    if not marker or marker not in prompt:
        return prompt, None
    before, _, after = prompt.partition(marker)
    if marker in after:
        raise SettingsError(
            f"the prompt has {prompt.count(marker)} holes ({marker}), and one can be filled",
            help_message="Keep one, or pass suffix= and let the prompt be taken as it is.",
        )
    return before, after


def generation_of(completion: Completion) -> Generation:
    """Return a whole completion.

    Raises:
        OverloadedError: The backend gave up half-way.
        OutputError: There is no text.
    """
    return Generation(text=completion_text(completion), generation_info=_facts(completion))


def chunk_of(completion: Completion) -> GenerationChunk:
    """Return one piece of a streamed completion; the facts come with the last.

    Raises:
        OverloadedError: The backend gave up half-way.
    """
    if not completion.choices:  # usage on a chunk of its own, as OpenAI's servers send it
        return GenerationChunk(text="", generation_info=_usage_facts(completion))
    check_complete(completion)
    choice = completion.choices[0]
    done = choice.finish_reason is not None
    logprobs = {"logprobs": choice.logprobs.model_dump()} if choice.logprobs else {}
    info = _facts(completion) if done else logprobs
    return GenerationChunk(text=choice.text or "", generation_info=info or None)


def folded(chunks: Iterable[GenerationChunk]) -> Generation:
    """Return the whole of a streamed completion."""
    whole = GenerationChunk(text="")
    for chunk in chunks:
        whole += chunk
    return Generation(text=whole.text, generation_info=whole.generation_info)


def result_of(generations: list[Generation], model: str) -> LLMResult:
    """Return LangChain's result for one prompt each, with the tokens of all of them."""
    usages = [(generation.generation_info or {}).get("usage") or {} for generation in generations]
    totals = {name: sum(usage.get(name) or 0 for usage in usages) for name in (*SUMMED, *CACHE_COUNTS)}
    names = [(generation.generation_info or {}).get("model_name") for generation in generations]
    output = {"token_usage": totals, "model_name": next((name for name in names if name), model)}
    return LLMResult(generations=[[generation] for generation in generations], llm_output=output)


@contextmanager
def as_langchain_errors() -> Iterator[None]:
    """Raise what goes wrong inside as classes that are ours, LangChain's and the SDK's at once."""
    try:
        yield
    except Exception as error:
        told = chat_error(error)
        if told is error:
            raise
        raise told from error


def _facts(completion: Completion) -> dict[str, Any]:
    choice = completion.choices[0]
    return {
        "finish_reason": str(choice.finish_reason),
        "logprobs": choice.logprobs.model_dump() if choice.logprobs else None,
        "model_name": completion.model,
        "id": completion.id,
        "system_fingerprint": completion.system_fingerprint,
        **_usage_facts(completion),
    }


def _usage_facts(completion: Completion) -> dict[str, Any]:
    if completion.usage is None:
        return {}
    usage: Mapping[str, Any] = completion.usage.model_dump(exclude_none=True)
    return {"usage": dict(usage), "usage_metadata": usage_metadata(usage)}
