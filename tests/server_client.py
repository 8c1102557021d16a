"""Talk to a RequestHandler as a client would, without a socket."""

from __future__ import annotations

import json
from typing import Any

from local_backend.server import ModelPool, Request, RequestHandler, Response

USER = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = (
    '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="weather">\n'
    '<｜DSML｜parameter name="city" string="true">Oslo</｜DSML｜parameter>\n'
    "</｜DSML｜invoke>\n</｜DSML｜tool_calls>"
)


def handler_for(engine: Any, **options: Any) -> RequestHandler:
    """Serve one engine under the name "toy"."""
    return RequestHandler(ModelPool({"toy": lambda: engine}, "toy"), **options)


def post(handler: RequestHandler, body: Any, path: str = "/chat/completions", **headers: str) -> Response:
    """Send a body (bytes as they are, anything else as JSON); headers with underscores for dashes."""
    named = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return handler.handle(Request(method="POST", path=path, headers=named, body=raw))


def read(response: Response) -> tuple[int, str]:
    """Return final status and whole body."""
    settled = response.settled()
    return settled.status, b"".join(settled.body).decode()


def chat(handler: RequestHandler, **fields: Any) -> dict[str, Any]:
    """Ask without streaming; return the reply."""
    status, text = read(post(handler, {"model": "toy", "messages": USER, **fields}))
    assert status == 200, text
    return json.loads(text)


def chunks(handler: RequestHandler, path: str = "/chat/completions", **fields: Any) -> list[dict[str, Any]]:
    """Ask with streaming; return the chunks and check the framing."""
    response = post(handler, {"model": "toy", "messages": USER, **fields, "stream": True}, path)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = read(response)[1].split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def fold(stream: list[dict[str, Any]]) -> dict[str, Any]:
    """Join chat chunks the way a client does."""
    message: dict[str, Any] = {}
    calls: list[dict[str, Any]] = []
    for choice in (chunk["choices"][0] for chunk in stream):
        delta = choice["delta"]
        for name in ("content", "reasoning_content"):
            if name in delta:
                message[name] = message.get(name, "") + (delta[name] or "")
        for call in delta.get("tool_calls", []):
            if call["index"] == len(calls):
                calls.append(call)
            else:
                calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    last = stream[-1]
    finish = last["choices"][0]["finish_reason"]
    return {"message": message, "calls": calls, "finish": finish, "usage": last["usage"]}


def folded_whole(reply: dict[str, Any]) -> dict[str, Any]:
    """Bring a whole reply into the form `fold` gives."""
    message = dict(reply["choices"][0]["message"])
    message.pop("role")
    calls = message.pop("tool_calls", [])
    finish = reply["choices"][0]["finish_reason"]
    return {"message": message, "calls": calls, "finish": finish, "usage": reply["usage"]}
