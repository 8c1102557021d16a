"""Text assets from GGUF metadata, from a Hugging Face folder, and back from disk."""

from __future__ import annotations

import json

import pytest
from toy_gguf import CHATML, byte_level_metadata, sentencepiece_metadata, toy_assets

from local_backend.errors import CheckpointError, UnsupportedModelError
from local_backend.families.text_assets import TextAssets
from local_backend.families.tokenizer import Tokenizer


def test_gguf_metadata_is_read():
    assets = toy_assets()
    assert (assets.architecture, assets.name, assets.chat_template) == ("qwen2", "Toy", CHATML)
    assert (assets.eos_token, assets.bos_token, assets.add_bos_token) == (
        "<|im_end|>",
        "<|endoftext|>",
        False,
    )


def test_every_known_end_token_ends_a_turn_and_the_stated_one_comes_first():
    tokenizer = Tokenizer.from_assets(toy_assets())
    assert [tokenizer.special_tokens[i] for i in tokenizer.eos_token_ids] == ["<|im_end|>", "<|endoftext|>"]


def test_sentencepiece_adds_the_begin_token_unless_told_otherwise():
    assert TextAssets.from_gguf_metadata(sentencepiece_metadata()).add_bos_token
    silent = sentencepiece_metadata() | {"tokenizer.ggml.add_bos_token": False}
    assert not TextAssets.from_gguf_metadata(silent).add_bos_token


@pytest.mark.parametrize(("key", "value"), [("model", "rwkv"), ("pre", "klingon")])
def test_unknown_kinds_are_named(key, value):
    with pytest.raises(UnsupportedModelError, match=value) as caught:
        toy_assets(**{key: value})
    assert caught.value.help_message


@pytest.mark.parametrize("key", ["model", "tokens", "merges"])
def test_missing_metadata_is_named(key):
    with pytest.raises(CheckpointError, match=rf"tokenizer\.ggml\.{key}"):
        TextAssets.from_gguf_metadata(byte_level_metadata(**{key: None}))


def test_token_types_must_match_tokens():
    with pytest.raises(CheckpointError, match="token_type has 1 entries"):
        toy_assets(token_type=[1])


def test_save_and_load_agree(tmp_path):
    assets = toy_assets()
    assets.save(tmp_path)
    assert TextAssets.load(tmp_path) == assets
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text_assets.json", "tokenizer.json"]


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"version": 1}', '{"version": 99}'])
def test_damaged_assets_are_refused(tmp_path, damage):
    toy_assets().save(tmp_path)
    (tmp_path / "text_assets.json").write_text(damage)
    with pytest.raises(CheckpointError):
        TextAssets.load(tmp_path)


def test_nothing_saved_is_an_error_too(tmp_path):
    with pytest.raises(CheckpointError, match="no text assets"):
        TextAssets.load(tmp_path)


def _write_folder(folder, **files):
    (folder / "tokenizer.json").write_text(toy_assets().tokenizer_json, encoding="utf-8")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return TextAssets.from_hf_folder(folder)


def test_hf_folder_is_read(tmp_path):
    (tmp_path / "chat_template.jinja").write_text("T")
    settings = {"eos_token": {"content": "<|im_end|>"}, "bos_token": None, "add_bos_token": True}
    assets = _write_folder(
        tmp_path,
        tokenizer_config=settings,
        config={"model_type": "llama", "eos_token_id": 7},
        generation_config={"eos_token_id": [3, 4]},
    )
    end = Tokenizer.from_assets(assets).token_id("<|im_end|>")
    assert (assets.eos_token_ids, assets.eos_token, assets.bos_token) == ((end, 3, 4), "<|im_end|>", "")
    assert (assets.add_bos_token, assets.architecture, assets.chat_template) == (True, "llama", "T")


def test_hf_template_may_be_one_of_several(tmp_path):
    templates = [{"name": "tool_use", "template": "A"}, {"name": "default", "template": "B"}]
    assert _write_folder(tmp_path, tokenizer_config={"chat_template": templates}).chat_template == "B"


def test_hf_folder_without_extras(tmp_path):
    assets = _write_folder(tmp_path, config={"eos_token_id": 5})
    assert (assets.eos_token_ids, assets.chat_template, assets.eos_token) == ((5,), None, "")


def test_hf_folder_without_tokenizer(tmp_path):
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        TextAssets.from_hf_folder(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_hf_folder_with_a_damaged_file(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        TextAssets.from_hf_folder(tmp_path)
