"""A request in the hosted dialect, as another server wants it. Pure functions over wire dictionaries.

What cannot be said to a server is either named, so that the caller can see it in a response header, or, where
leaving it out would give a wrong answer instead of a plainer one, refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deepseek_apps.backends._json_schema import schema_in_prompt
from deepseek_apps.backends._server_request import (
    ServerRequest,
    UnsupportedRequestError,
    translate_thinking,
)
from deepseek_apps.catalog.servers import ServerFlavor, servers

__all__ = ["REQUEST_MARKERS", "to_server"]

# A body without these says the same to every server, so it is sent unread, and no server is asked what it is.
REQUEST_MARKERS = (
    b'"thinking"',
    b'"reasoning_effort"',
    b'"reasoning_content"',
    b'"prefix"',
    b'"suffix"',
    b'"response_format"',
    b'"tool_choice"',
    b'"tool_calls"',
    b'"strict"',
    b'"user_id"',
)


def to_server(body: dict[str, Any], flavor: ServerFlavor) -> ServerRequest:
    """Return the body as the server wants it.

    Args:
        body: A chat completion, or a completion with `prompt`, in the hosted dialect; not changed.
        flavor: The server's software.

    Raises:
        UnsupportedRequestError: It needs what the server cannot do; the message says what and what to do.
    """
    request = ServerRequest(dict(body), flavor)
    steps = CHAT_STEPS if "messages" in body else COMPLETION_STEPS
    for step in steps:
        step(request)
    return request


def _messages(request: ServerRequest) -> None:
    messages = request.body["messages"]
    if isinstance(messages, list):
        request.body["messages"] = [_message(message, request.flavor) for message in messages]


def _message(message: Any, flavor: ServerFlavor) -> Any:
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return message
    sent = {key: value for key, value in message.items() if key != "tool_calls" or value}
    if flavor.reasoning != "reasoning_content" and "reasoning_content" in sent:
        sent[flavor.reasoning] = sent.pop("reasoning_content")
    if not flavor.null_content and sent.get("content") is None:
        sent["content"] = ""
    return sent


def _prefix(request: ServerRequest) -> None:
    style = request.flavor.prefix
    messages = request.body["messages"]
    last = messages[-1] if isinstance(messages, list) and messages else None
    if style == "hosted" or not isinstance(last, dict) or "prefix" not in last:
        return
    request.body["messages"] = [
        *messages[:-1],
        {key: value for key, value in last.items() if key != "prefix"},
    ]
    if not last["prefix"]:
        return
    if style == "none":
        raise UnsupportedRequestError(
            f"{request.flavor.name} cannot continue an answer that is begun (prefix): "
            "ask for the whole answer, or use a server that can."
        )
    if style == "continue":
        request.body |= {"continue_final_message": True, "add_generation_prompt": False}
    else:
        # An open start of an answer and thinking exclude each other there.
        request.template_arguments().setdefault("enable_thinking", False)


def _response_format(request: ServerRequest) -> None:
    wanted = request.body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object" and not request.flavor.json_object:
        request.drop("response_format")
    elif kind == "json_schema" and request.flavor.json_schema == "none":
        request.body = schema_in_prompt(request.body)
        _response_format(request)
    elif kind == "json_schema" and request.flavor.json_schema == "json_object" and isinstance(wanted, dict):
        schema = wanted.get("json_schema")
        inner = schema.get("schema") if isinstance(schema, dict) else None
        request.body["response_format"] = {"type": "json_object", "schema": inner or {}}


def _tools(request: ServerRequest) -> None:
    _tool_choice(request)
    tools = request.body.get("tools")
    if request.flavor.strict_tools or not isinstance(tools, list):
        return
    loose = [_without_strict(tool) for tool in tools]
    if loose != tools:
        request.body["tools"] = loose
        request.dropped.append("strict")


def _tool_choice(request: ServerRequest) -> None:
    choice, tools = request.body.get("tool_choice"), request.body.get("tools")
    kind = "named" if isinstance(choice, dict) else choice
    accepted = request.flavor.tool_choice
    if kind is None or kind in accepted:
        return
    if kind == "none":
        # Without its tools a request cannot call any.
        request.body.pop("tools", None)
        del request.body["tool_choice"]
    elif kind == "required" and "named" in accepted and isinstance(tools, list) and len(tools) == 1:
        name = tools[0].get("function", {}).get("name")
        request.body["tool_choice"] = {"type": "function", "function": {"name": name}}
    else:
        request.drop("tool_choice")


def _without_strict(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or "strict" not in function:
        return tool
    return tool | {"function": {key: value for key, value in function.items() if key != "strict"}}


def _fill_in_the_middle(request: ServerRequest) -> None:
    body = request.body
    prompt, suffix = body.get("prompt"), body.get("suffix")
    if request.flavor.fim == "suffix" or "suffix" not in body:
        return
    del body["suffix"]
    if not suffix:
        return
    markup = servers().fim_markup(str(body.get("model", "")))
    if markup is None or not isinstance(prompt, str) or not isinstance(suffix, str) or body.get("echo"):
        why = "with echo" if markup else f"for the model {body.get('model')!r}, whose markers are not known"
        raise UnsupportedRequestError(
            f"{request.flavor.name} cannot fill in the middle {why}: put the model's own markers into "
            "prompt, and leave suffix and echo out."
        )
    body["prompt"] = markup.render(prompt, suffix)


def _fields(request: ServerRequest) -> None:
    if request.flavor.fields is None:
        return
    for name in [name for name in request.body if name not in request.flavor.fields]:
        if name in request.flavor.quiet:
            del request.body[name]
        else:
            request.drop(name)


CHAT_STEPS: tuple[Callable[[ServerRequest], None], ...] = (
    _messages,
    _prefix,
    translate_thinking,
    _response_format,
    _tools,
    _fields,
)
COMPLETION_STEPS: tuple[Callable[[ServerRequest], None], ...] = (_fill_in_the_middle, _fields)
