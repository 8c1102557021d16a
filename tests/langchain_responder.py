"""What a model would understand of the questions in LangChain's suites; the fake answers the rest."""

from __future__ import annotations

import re
from collections.abc import Callable

from deepseek_apps.testing import Reply, Request

__all__ = ["understand"]

Arguments = dict[str, object]


def _customer(text: str) -> Arguments:
    found = re.search(r"named '([^']+)'", text)
    return {"customer_name": found[1] if found else "", "description": "A company."}


ARGUMENTS: dict[str, Callable[[str], Arguments]] = {
    "magic_function": lambda text: {"input": int(re.findall(r"\d+", text)[-1])},
    "magic_function_no_args": lambda text: {},
    "unicode_customer": _customer,
    "get_weather": lambda text: {"location": "San Francisco, CA"},
}


def understand(request: Request) -> Reply | None:
    """Call the tool that the last question is about, unless it has answered; None leaves it to the fake."""
    if not request.messages or request.messages[-1].get("role") == "tool":
        return None
    names = {tool["function"]["name"] for tool in request.tools} & ARGUMENTS.keys()
    if len(names) != 1 or request.body.get("tool_choice") == "none":
        return None
    name = names.pop()
    arguments = ARGUMENTS[name](request.last_user_text)
    return Reply(reasoning=f"This is a case for {name}.", tool_calls=[(name, arguments)])
