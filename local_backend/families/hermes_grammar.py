"""Hermes-style tool calls as grammar rules.

Everything is matched as bytes of text. That holds for `<tool_call>` whether the vocabulary has a token for it
or not, as long as that token's bytes are its spelling (`Tokenizer.token_bytes` sees to it).
"""

from __future__ import annotations

import json
from typing import Any

from local_backend.families.output_grammar import alternatives, arguments_rule, further, output_grammar

__all__ = ["hermes_grammar"]

_CALLS = r"""calls: "<tool_call>" call_list
call_list: call {further}
call: "\n" ({calls}) "\n</tool_call>"
"""
# The second line: a call whose marker was forgotten, as HermesNormaliser recognises it.
_TEXT_OR_CALLS = r"""answer: TEXT | opening call_list | unmarked
unmarked: ({unmarked}) /\n?\}}(\n?(```|<\/tools>))?/
opening[lazy]: TEXT "<tool_call>"
TEXT: /(.|\n)*/
"""
_UNMARKED = r"""unmarked_{index}: begin_{index} /,[ \n]{{0,8}}"arguments": ?/ arguments_{index}
begin_{index}[lazy]: /(```(json)?\n|<tools>\n?)?\{{[ \n]{{0,8}}"name": ?"{name}"/
"""


def hermes_grammar(kind: str, schema: str, *, reasoning: bool, json_answer: bool = False) -> str:
    """Return the grammar of an output; see `output_grammar`.

    Raises:
        RequestError: The schema, the expression or a strict tool's schema cannot be enforced.
    """
    return output_grammar(kind, schema, _HermesSyntax(), reasoning=reasoning, json_answer=json_answer)


class _HermesSyntax:
    def calls(self, tools: list[dict[str, Any]], most: int) -> str:
        rules = [
            _CALLS.format(calls=alternatives("call", tools), further=further(r'"\n<tool_call>" call', most))
        ]
        for index, tool in enumerate(tools):
            head = json.dumps(f'{{"name": "{tool["function"]["name"]}", "arguments": ')
            rules.append(f'call_{index}: {head} arguments_{index} "}}"\n')
            rules.append(f"arguments_{index}: {arguments_rule(tool['function'])}\n")
        return "".join(rules)

    def text_or_calls(self, tools: list[dict[str, Any]]) -> str:
        names = (tool["function"]["name"] for tool in tools)
        unmarked = (_UNMARKED.format(index=index, name=name) for index, name in enumerate(names))
        return _TEXT_OR_CALLS.format(unmarked=alternatives("unmarked", tools)) + "".join(unmarked)
