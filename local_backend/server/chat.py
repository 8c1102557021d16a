"""POST /chat/completions: from a request's body to a running generation."""

from __future__ import annotations

from collections.abc import Callable

from deepseek_recipe import ConversationRequest, ConversionError

from local_backend.sampling_params import SamplingParams
from local_backend.sequence import TokenConstraint
from local_backend.server.answer import Answer
from local_backend.server.chat_request import (
    convert_chat,
    parse_json,
    refuse_images,
    top_k,
    user_id,
    validate_chat,
    with_sampling_defaults,
)
from local_backend.server.chat_turn import ChatTurn
from local_backend.server.messages import Response
from local_backend.server.model_pool import LoadedModel, ModelPool
from local_backend.server.replies import JSON, HttpError
from local_backend.server.reply_head import context_overflow, new_head

__all__ = ["answer_chat"]


def answer_chat(
    body: bytes, models: ModelPool, fail: Callable[[Exception], Response], *, strict_reasoning: bool
) -> Response:
    """Start a chat reply; the generation runs while the body is read.

    Args:
        body: The request's body.
        models: Finds the model the request names.
        fail: Logs an error of the running generation and gives the reply for it.
        strict_reasoning: See `convert_chat`.

    Raises:
        HttpError: The request is refused.
        LocalBackendError: The model cannot be loaded, or the engine refuses the request.
    """
    data = parse_json(body)
    validate_chat(data, body)
    name = models.resolve(data["model"])
    refuse_images(data, name)
    cache_salt = user_id(data)
    top_k(data)  # refuse a bad value before a model is loaded
    model = models.get(name)
    engine = model.engine
    data = with_sampling_defaults(data, engine.sampling_defaults)
    request = convert_chat(data, thinking=engine.family.supports_thinking, strict_reasoning=strict_reasoning)
    prompt = engine.family.render(request.conversation).token_ids
    params = _sampling_params(request, model, len(prompt), top_k(data))
    constraint = _constraint(request, model)
    # The turn first: once submitted, a generation must have someone who cancels it.
    turn = ChatTurn(request, engine, new_head(engine.model_id, len(prompt)))
    generation = models.submit(name, prompt, params, cache_salt=cache_salt, constraint=constraint)
    return Answer(generation, turn, fail).response(stream=request.stream)


def _sampling_params(
    request: ConversationRequest, model: LoadedModel, num_prompt_tokens: int, keep_most_likely: int
) -> SamplingParams:
    options = request.inference_options
    context = model.engine.max_model_len
    try:
        max_tokens = request.resolve_max_tokens(num_prompt_tokens, context)
    except ConversionError as error:
        raise HttpError(Response.of(error.status_code, error.body.encode(), JSON)) from None
    if num_prompt_tokens >= context:  # the recipe leaves one token even where there is no room
        raise context_overflow(context, num_prompt_tokens, max_tokens)
    return SamplingParams(
        temperature=1.0 if options.temperature is None else options.temperature,
        top_p=1.0 if options.top_p is None else options.top_p,
        top_k=keep_most_likely,
        max_tokens=max_tokens,
        stop_token_ids=frozenset(model.engine.family.stop_token_ids),
        seed=options.seed,
        logprobs=(options.top_logprobs or 0) if options.logprobs else None,
    )


def _constraint(request: ConversationRequest, model: LoadedModel) -> TokenConstraint | None:
    wanted = request.inference_options.output_constraint
    if wanted is None:
        return None
    grammar = model.engine.family.grammar(request.conversation, wanted)
    return None if grammar is None else model.grammars.compile(grammar)
