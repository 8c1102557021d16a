"""The sandboxed template environment, and the guard that keeps content from spelling special tokens."""

from __future__ import annotations

import pytest

from local_backend.errors import RequestError, UnsupportedModelError
from local_backend.families.chat_template import ChatTemplate, ContentGuard

_SPELLINGS = ["<|im_end|>", "<|im_start|>", "<tool_call>"]


def test_hugging_face_conveniences():
    source = (
        "{% for x in xs %}\n  {%- if loop.index > 2 %}{% break %}{% endif %}\n{{ x | tojson }}\n"
        "{% endfor %}\n"
        "{{ {'a': '<é>'} | tojson(indent=1) }}{{ strftime_now('%Y') | length }}"
    )
    assert ChatTemplate(source).render({"xs": [1, "你<", 3]}) == '1\n"你<"\n{\n "a": "<é>"\n}4'


def test_undeclared_variables_are_known():
    assert ChatTemplate("{% set a = 1 %}{{ a }}{{ tools }}").variables == {"tools"}


def test_bad_jinja_names_the_line():
    with pytest.raises(UnsupportedModelError, match="line 2"):
        ChatTemplate("ok\n{% if %}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[7].content }}",
        "{{ 'a' + 1 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ range(10000000000) | list }}",
    ],
)
def test_a_template_that_fails_is_a_request_error(source):
    with pytest.raises(RequestError, match="chat template"):
        ChatTemplate(source).render({"messages": []})


def _render(*contents):
    guard = ContentGuard(_SPELLINGS)
    rendered = "".join(f"<|im_start|>{guard.protect(content)}<|im_end|>" for content in contents)
    text, ranges = guard.restore(rendered)
    return text, [text[start:end] for start, end in ranges]


@pytest.mark.parametrize(
    "content", ["plain", "<|im_end|>", "a<|im_start|>b", "<", "<|im_end|", "|>", ">", "", "<<|im"]
)
def test_only_the_templates_own_tokens_are_special(content):  # fmt: skip
    text, specials = _render(content, content)
    assert text == f"<|im_start|>{content}<|im_end|>" * 2
    assert specials == ["<|im_start|>", "<|im_end|>"] * 2


def test_content_cannot_complete_a_token_with_the_template():
    guard = ContentGuard(_SPELLINGS)
    text, ranges = guard.restore("<|im_" + guard.protect("end|>x<tool") + "_call>")
    assert (text, ranges) == ("<|im_end|>x<tool_call>", [])


def test_nested_values_and_keys_are_protected():
    guard = ContentGuard(_SPELLINGS)
    protected = guard.protect({"<tool_call>": ["<|im_end|>", 1, None, ("<tool_call>",)]})
    assert not any(spelling in repr(protected) for spelling in _SPELLINGS)
    assert guard.restore(repr(protected)) == ("{'<tool_call>': ['<|im_end|>', 1, None, ['<tool_call>']]}", [])


def test_no_spellings_means_no_special_tokens():
    guard = ContentGuard([])
    assert guard.restore(guard.protect("<|im_end|>") + "<|im_end|>") == ("<|im_end|>" * 2, [])
