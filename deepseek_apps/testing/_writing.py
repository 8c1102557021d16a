"""A reply becoming tokens: what stop strings, JSON mode and `max_tokens` leave of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from deepseek_recipe import (
    ChatCompletionChunk,
    ChatCompletionRequest,
    ConversationRequest,
    InferenceChunk,
    InferenceFinishReason,
    ParsingOptions,
    StreamProcessor,
)

from deepseek_apps.testing._tokens import Counter
from deepseek_apps.testing.replies import Reply, ToolCallScript

__all__ = ["Piece", "Written", "counted", "cut_at_stop", "write_chat"]

Kind: TypeAlias = Literal["reasoning_content", "content", "call", "arguments"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one chunk carries.

    Attributes:
        kind: The field it belongs to; "call" begins a call.
        text: Text, arguments, or the name of the called function.
        tokens: How many tokens it stands for.
        index: Which call.
    """

    kind: Kind
    text: str
    tokens: int
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A whole answer in pieces."""

    pieces: tuple[Piece, ...]
    finish_reason: str

    def text(self, kind: Kind) -> str:
        """Join the pieces of one kind."""
        return "".join(piece.text for piece in self.pieces if piece.kind == kind)

    def tokens(self, kind: Kind | None = None) -> int:
        """Count the tokens, of one kind or of all."""
        return sum(piece.tokens for piece in self.pieces if kind in (None, piece.kind))


def write_chat(
    reply: Reply, request: ConversationRequest, counter: Counter, max_tokens: int, *, thinks: bool
) -> Written:
    """Write a chat reply under the request's rules.

    Args:
        reply: What the model wants to say.
        request: Gives stop strings and JSON mode.
        counter: Cuts strings into tokens.
        max_tokens: Where the answer is cut.
        thinks: Whether reasoning is written.
    """
    pieces: list[Piece] = []
    if thinks:
        pieces += [_piece("reasoning_content", each) for each in counted(reply.reasoning or "", counter)]
    content, stopped = cut_at_stop(counted(reply.content, counter), request.parsing_options.stop_sequences)
    if request.parsing_options.parse_json_output and not reply.tool_calls:
        content = [each for text in _json_only(content, request) for each in counter.pieces(text)]
    pieces += [_piece("content", each) for each in content]
    calls = () if stopped else tuple(reply.tool_calls)
    for index, call in enumerate(calls):
        pieces += _call_pieces(index, call, counter)
    kept = tuple(_within(pieces, max_tokens))
    if len(kept) < len(pieces):
        return Written(pieces=kept, finish_reason="length")
    usual = "tool_calls" if calls else "stop"
    return Written(pieces=kept, finish_reason="stop" if stopped else reply.finish_reason or usual)


def counted(text: str | Sequence[str], counter: Counter) -> list[tuple[str, int]]:
    """Cut a string into tokens; keep the pieces of a sequence and count them."""
    if isinstance(text, str):
        return counter.pieces(text)
    return [(piece, len(counter.ids(piece))) for piece in text]


def cut_at_stop(
    pieces: Sequence[tuple[str, int]], stops: Sequence[str]
) -> tuple[list[tuple[str, int]], bool]:
    """Cut a text before the first stop string; return what is left and whether there was one."""
    text = "".join(piece for piece, _ in pieces)
    places = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    if not places:
        return list(pieces), False
    room, kept = min(places), []
    for piece, tokens in pieces:
        if room <= 0:
            break
        kept.append((piece[:room], tokens))
        room -= len(piece)
    return kept, True


def _piece(kind: Kind, counted_text: tuple[str, int]) -> Piece:
    return Piece(kind=kind, text=counted_text[0], tokens=counted_text[1])


def _within(pieces: Sequence[Piece], max_tokens: int) -> Iterator[Piece]:
    used = 0
    for piece in pieces:
        used += piece.tokens
        if used > max_tokens:
            return
        yield piece


def _json_only(pieces: Sequence[tuple[str, int]], request: ConversationRequest) -> list[str]:
    """Let the recipe put a blank for text that is no JSON; return blanks and JSON."""
    processor = StreamProcessor(
        ChatCompletionRequest.chunk_generator(request, "", ""), ParsingOptions(parse_json_output=True)
    )
    text = "".join(text for text, _ in pieces)
    updates = [InferenceChunk.ready(), InferenceChunk.text(text)]
    updates.append(InferenceChunk.finish(InferenceFinishReason.Stop))
    made = [chunk for update in updates for chunk in processor.push(update)]
    deltas = [json.loads(chunk.to_json()) for chunk in made if isinstance(chunk, ChatCompletionChunk)]
    return [delta["choices"][0]["delta"].get("content") or "" for delta in deltas]


def _call_pieces(index: int, call: ToolCallScript, counter: Counter) -> list[Piece]:
    name, arguments = call
    dump: Callable[[Any], str] = lambda value: json.dumps(value, ensure_ascii=False)  # noqa: E731
    texts = list(_argument_texts(arguments, dump, counter))
    begin = Piece(kind="call", text=name, tokens=len(counter.ids(name)), index=index)
    # Quotes and commas are markup in the model's own tokens, and cost nothing of their own.
    return [
        begin,
        *(Piece(kind="arguments", text=text, tokens=tokens, index=index) for text, tokens in texts),
    ]


def _argument_texts(
    arguments: Mapping[str, Any] | str, dump: Callable[[Any], str], counter: Counter
) -> Iterator[tuple[str, int]]:
    """Give the arguments the way they are streamed: key by key, strings between their quotes."""
    if isinstance(arguments, str):
        yield from counter.pieces(arguments)
        return
    if not arguments:
        yield "{}", 0
        return
    for number, (key, value) in enumerate(arguments.items()):
        yield "{" if number == 0 else ", ", 0
        yield dump(key), len(counter.ids(key))
        yield ": ", 0
        if isinstance(value, str):
            yield '"', 0
            if value:
                yield dump(value)[1:-1], len(counter.ids(value))
            yield '"', 0
        else:
            yield dump(value), len(counter.ids(dump(value)))
    yield "}", 0
