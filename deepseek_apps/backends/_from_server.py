"""What another server answers, in the hosted dialect. Pure functions over wire dictionaries and bytes.

The fields of an answer need no flavor: no two servers mean different things by the same name. An answer that
needs nothing is not parsed.
"""

from __future__ import annotations

import json
import re
from typing import Any

from deepseek_apps.catalog.servers import ServerFlavor, servers

__all__ = [
    "EventTranslator",
    "error_from_server",
    "event_from_server",
    "from_server",
    "refusal",
    "reply_from_server",
]

# Bytes without any of these are in the hosted dialect already.
FOREIGN = re.compile(
    rb'"reasoning"|"error"|"function_call"|"cached_tokens"|"reasoning_tokens"|"tool_calls":\s*\[|"object":\s*"error"'
)
OVERFLOW = "maximum context length"
OVERFLOW_CODE = "context_length_exceeded"
CallIds = dict[tuple[str, str], tuple[object, object]]


def from_server(body: dict[str, Any]) -> dict[str, Any]:
    """Return a whole answer, or the data of one event, in the hosted dialect; changes `body` in place."""
    for choice in _dicts(body.get("choices")):
        for name in ("message", "delta"):
            if isinstance(choice.get(name), dict):
                _message(choice[name])
    if isinstance(body.get("usage"), dict):
        _usage(body["usage"])
    return body


def event_from_server(event: dict[str, Any], call_ids: CallIds) -> dict[str, Any]:
    """Return the data of an event in the hosted dialect.

    Args:
        event: Changed in place.
        call_ids: Tool calls of this stream that have begun; only the first piece of a call has id and name,
            or whoever joins the pieces would repeat the name.
    """
    if "choices" not in event and _is_error(event):
        return error_from_server(event, kind="server_error")
    for choice in _dicts(from_server(event).get("choices")):
        delta = choice.get("delta")
        for call in _dicts(delta.get("tool_calls")) if isinstance(delta, dict) else ():
            _call_piece(call, (str(choice.get("index")), str(call.get("index"))), call_ids)
    return event


def _dicts(value: object) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _message(message: dict[str, Any]) -> None:
    reasoning = message.get("reasoning")
    if isinstance(reasoning, str) or ("reasoning" in message and reasoning is None):
        del message["reasoning"]
        if reasoning is not None:
            message.setdefault("reasoning_content", reasoning)
    if "function_call" in message and (message["function_call"] is None or message.get("tool_calls")):
        del message["function_call"]
    if "role" in message and message["role"] is None:
        del message["role"]


def _usage(usage: dict[str, Any]) -> None:
    details = usage.get("prompt_tokens_details")
    hit = details.get("cached_tokens") if isinstance(details, dict) else None
    prompt = usage.get("prompt_tokens")
    if isinstance(hit, int) and isinstance(prompt, int) and "prompt_cache_hit_tokens" not in usage:
        usage |= {"prompt_cache_hit_tokens": hit, "prompt_cache_miss_tokens": max(prompt - hit, 0)}
    reasoning = usage.get("reasoning_tokens")
    if reasoning and not usage.get("completion_tokens_details"):
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}


def _call_piece(call: dict[str, Any], key: tuple[str, str], begun: CallIds) -> None:
    function = call.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    identity = (call.get("id"), name)
    if key not in begun:
        begun[key] = identity
    elif identity == begun[key] and isinstance(function, dict):
        for field in ("id", "type"):
            call.pop(field, None)
        function.pop("name", None)


def _is_error(body: dict[str, Any]) -> bool:
    return bool(body.get("error")) or body.get("object") == "error" or "detail" in body


def error_from_server(
    body: object, flavor: ServerFlavor | None = None, *, kind: str = "invalid_request_error"
) -> dict[str, Any]:
    """Return an error body in the hosted envelope: {"error": {"message", "type", "param", "code"}}.

    Args:
        body: The decoded error.
        flavor: The server's software, if known.
        kind: Type of an error that names none.

    Known shapes: OpenAI's; `{"error": "text"}` (transformers, Ollama); `{"object": "error", "message": …}`
    (SGLang); `{"detail": …}` (FastAPI).
    """
    outer = body if isinstance(body, dict) else {"error": str(body)}
    inner = outer.get("error") or outer
    error = dict(inner) if isinstance(inner, dict) else {"message": str(inner)}
    given = error.get("message") or _detail(error.get("detail"))
    message = given if given and isinstance(given, str) else json.dumps(outer)
    code = error.get("code")
    if flavor is not None and any(words in message for words in flavor.client_faults):
        error["type"] = code = None
    if servers().is_overflow(message) and OVERFLOW not in message:
        message, code = f"The {OVERFLOW} is exceeded: {message}", OVERFLOW_CODE
    kind = error.get("type") or kind
    return {"error": {"message": message, "type": kind, "param": error.get("param"), "code": code or kind}}


def _detail(detail: object) -> str:
    if isinstance(detail, list):
        return "; ".join(
            f"{'.'.join(str(part) for part in row.get('loc', ()))}: {row.get('msg')}"
            for row in _dicts(detail)
        )
    return detail if isinstance(detail, str) else ""


def refusal(message: str) -> bytes:
    """Return the body of a 400 that says why a request was not sent on."""
    return json.dumps(error_from_server({"message": message})).encode()


def reply_from_server(status: int, content: bytes, flavor: ServerFlavor | None) -> tuple[int, bytes]:
    """Return status and body of a reply in the hosted dialect; what is not JSON stays as it is.

    A fault of the request that a server reports as its own becomes the 400 that it is: nobody should send
    it again.
    """
    is_error = status >= 400
    if not is_error and not FOREIGN.search(content):
        return status, content
    try:
        body = json.loads(content)
    except ValueError:
        return status, content
    if not isinstance(body, dict):
        return status, content
    if not is_error and not ("choices" not in body and _is_error(body)):
        return status, json.dumps(from_server(body)).encode()
    translated = error_from_server(body, flavor)
    message = translated["error"]["message"]
    if status == 500 and flavor is not None and any(words in message for words in flavor.client_faults):
        status = 400
    return status, json.dumps(translated).encode()


class EventTranslator:
    """Translates server-sent events one by one, as soon as each is complete; others pass as they are.

    It also keeps the promise of the hosted dialect that a stream ends with [DONE] if and only if the answer
    is complete: servers that close after the finish reason get it added.
    """

    SEPARATOR = re.compile(rb"\r\n\r\n|\n\n|\r\r")
    FINISHED = re.compile(rb'"finish_reason":\s*"')
    DONE = b"data: [DONE]"
    # transformers puts an error's text between quotes without escaping it.
    UNESCAPED = re.compile(rb'\{"error": "(.*)"\}', re.DOTALL)

    def __init__(self) -> None:
        self._rest = b""
        self._call_ids: CallIds = {}
        self._finished = False
        self._done = False
        self._failed = False

    def feed(self, chunk: bytes) -> bytes:
        """Return what can be passed on now; empty while an event is incomplete."""
        self._rest += chunk
        parts: list[bytes] = []
        start = 0
        for match in self.SEPARATOR.finditer(self._rest):
            parts.append(self._event(self._rest[start : match.end()]))
            start = match.end()
        self._rest = self._rest[start:]
        return b"".join(parts)

    def finish(self) -> bytes:
        """Return what is left at the end of the body.

        Raises:
            ValueError: The answer is incomplete.
        """
        rest = self._event(self._rest) if self._rest.strip() else b""
        self._rest = b""
        if self._done or self._failed:
            return rest
        if self._finished:
            return rest + (b"\n\n" if rest else b"") + self.DONE + b"\n\n"
        raise ValueError("the stream ended without [DONE]")

    def _event(self, event: bytes) -> bytes:
        self._done = self._done or self.DONE in event or b"data:[DONE]" in event
        self._finished = self._finished or self.FINISHED.search(event) is not None
        if not FOREIGN.search(event):
            return event
        lines = event.splitlines()
        data = b"\n".join(line.partition(b":")[2].strip() for line in lines if line.startswith(b"data"))
        translated = self._data(data)
        if translated is None:
            return event
        others = [line for line in lines if line and not line.startswith(b"data")]
        return b"\n".join([*others, b"data: " + translated, b"", b""])

    def _data(self, data: bytes) -> bytes | None:
        try:
            body = json.loads(data)
        except ValueError:
            unescaped = self.UNESCAPED.fullmatch(data)
            if unescaped is None:
                return None
            body = {"error": unescaped[1].decode(errors="replace")}
        if not isinstance(body, dict):
            return None
        translated = event_from_server(body, self._call_ids)
        self._failed = self._failed or "error" in translated
        return json.dumps(translated).encode()
