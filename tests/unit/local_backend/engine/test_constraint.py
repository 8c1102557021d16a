"""Grammars over the real vocabulary of the small starter model."""

from __future__ import annotations

import json
import re

import pytest
import torch
from scripted_engine import ScriptedEngine

from local_backend.engine.constraint import GrammarCompiler, VocabularyBytes
from local_backend.errors import RequestError
from local_backend.server import ModelPool

_SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Oslo", "北京"]},
        "days": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["city"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},  # random sampling would write blanks for ever
}
_OBJECT = f"start: %json {json.dumps(_SCHEMA)}"
_PADDED = 152_064


@pytest.fixture(scope="module")
def compiler(starter_small_tokenizer):
    tokenizer = starter_small_tokenizer
    return GrammarCompiler(
        lambda: VocabularyBytes(
            token_bytes=[tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocab_size)],
            special_tokens=tokenizer.special_tokens,
            eos_token_ids=tokenizer.eos_token_ids,
            encode=lambda raw: tokenizer.encode_plain(raw.decode(errors="replace")),
        )
    )


def _allowed(constraint):
    logits = torch.zeros(_PADDED)
    constraint.mask_logits(logits)
    assert set(logits.unique().tolist()) <= {0.0, float("-inf")}
    return set((logits == 0).nonzero().flatten().tolist())


def _random_output(constraint, tokenizer, seed, limit=200):
    generator = torch.Generator().manual_seed(seed)
    output = []
    while not constraint.finished and len(output) < limit:
        logits = torch.rand(_PADDED, generator=generator)
        constraint.mask_logits(logits)
        token_id = int(logits.argmax())
        constraint.advance(token_id)
        if token_id in tokenizer.eos_token_ids:
            break
        output.append(token_id)
    return tokenizer.decode(output)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_sampled_fits_the_schema(compiler, starter_small_tokenizer, seed):
    text = _random_output(compiler.compile(_OBJECT), starter_small_tokenizer, seed)
    assert json.loads(text)["city"] in ("Oslo", "北京")


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_sampled_fits_the_expression(compiler, starter_small_tokenizer, seed):
    text = _random_output(compiler.compile("start: /[a-c]{3,5}-[0-9]+/"), starter_small_tokenizer, seed)
    assert re.fullmatch("[a-c]{3,5}-[0-9]+", text)


def test_control_tokens_and_padding_are_never_text(compiler, starter_small_tokenizer):
    allowed = _allowed(compiler.compile(r"start: /(.|\n)*/"))
    assert max(allowed) < starter_small_tokenizer.vocab_size
    ends = set(starter_small_tokenizer.eos_token_ids)
    assert allowed & set(starter_small_tokenizer.special_tokens) <= ends
    assert ends & allowed


def test_a_control_token_can_be_named(compiler, starter_small_tokenizer):
    name = "<|fim_middle|>"
    assert _allowed(compiler.compile(f"start: {name}")) == {starter_small_tokenizer.token_id(name)}


def test_finished_when_only_an_end_token_can_follow(compiler, starter_small_tokenizer):
    constraint = compiler.compile('start: "yes" | "no"')
    assert not constraint.finished
    constraint.advance(starter_small_tokenizer.encode_plain("yes")[0])
    assert constraint.finished
    assert _allowed(constraint) == set(starter_small_tokenizer.eos_token_ids)


def test_constraints_of_one_compiler_are_independent(compiler, starter_small_tokenizer):
    first, second = compiler.compile('start: "ab"'), compiler.compile('start: "ab"')
    first.advance(starter_small_tokenizer.encode_plain("ab")[0])
    assert not second.finished


@pytest.mark.parametrize(
    "grammar", ["start: nonsense", "start: /(/", '{"grammars": [{"json_schema": {"type": 5}}]}']
)
def test_a_bad_grammar_is_the_requests_fault(compiler, grammar):
    with pytest.raises(RequestError, match="cannot be compiled") as caught:
        compiler.compile(grammar)
    assert caught.value.help_message


def test_a_forbidden_token_is_an_error(compiler, starter_small_tokenizer):
    constraint = compiler.compile('start: "a"')
    with pytest.raises(RequestError, match="output constraint failed"):
        constraint.advance(starter_small_tokenizer.encode_plain("zebra")[0])


def test_tables_are_built_once_and_only_when_needed():
    loads = []

    def load():
        loads.append(1)
        return VocabularyBytes(
            token_bytes=[b"a", b""], special_tokens={1: "<e>"}, eos_token_ids=[1], encode=list
        )

    compiler = GrammarCompiler(load)
    assert not loads
    for _ in range(2):
        compiler.compile('start: "a"')
    assert loads == [1]


def test_a_loaded_model_brings_its_compiler():
    model = ModelPool({"toy": ScriptedEngine}, "toy").get("toy")
    constraint = model.grammars.compile('start: "ok"')
    logits = torch.zeros(model.engine.tokenizer.vocab_size)
    constraint.mask_logits(logits)
    assert model.engine.tokenizer.decode((logits == 0).nonzero().flatten().tolist()) == "o"
