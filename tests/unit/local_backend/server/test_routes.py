"""Routes, authentication and the order of checks."""

from __future__ import annotations

import json

import pytest
from scripted_engine import ScriptedEngine
from server_client import USER, handler_for, post, read

from local_backend.errors import ConfigError, ModelNotPulledError
from local_backend.server import ApiKey, ModelPool, Request, RequestHandler

_CHAT = {"model": "toy", "messages": USER}


def _ask(handler, method, path, **headers):
    response = handler.handle(Request(method=method, path=path, headers=headers))
    return response, read(response)


@pytest.mark.parametrize("base", ["", "/v1", "/beta"])
@pytest.mark.parametrize("name", ["toy", "deepseek-flash", "deepseek-v4-pro", "deepseek-chat"])
def test_every_base_and_hosted_name_reaches_the_local_model(base, name):
    handler = handler_for(ScriptedEngine())
    status, body = read(post(handler, _CHAT | {"model": name}, f"{base}/chat/completions"))
    assert (status, json.loads(body)["model"]) == (200, "toy")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/user/balance", 404),
        ("POST", "/v1/v1/chat/completions", 404),
        ("GET", "/v1", 404),
        ("GET", "/chat/completions", 405),
        ("POST", "/models", 405),
        ("OPTIONS", "/chat/completions", 405),
    ],
)
def test_unknown_path_or_method_has_an_empty_body(method, path, status):
    response, reply = _ask(handler_for(ScriptedEngine()), method, path)
    assert reply == (status, "")
    assert response.headers["x-ds-trace-id"]


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data"])
def test_other_content_types_are_refused(content_type):
    response = post(handler_for(ScriptedEngine()), _CHAT, content_type=content_type)
    assert read(response) == (415, "Expected request with `Content-Type: application/json`")


def test_content_type_may_carry_a_charset():
    handler = handler_for(ScriptedEngine())
    assert read(post(handler, _CHAT, content_type="Application/JSON; charset=utf-8"))[0] == 200


def test_models_lists_the_default_first():
    pool = ModelPool({"a": ScriptedEngine, "b": ScriptedEngine}, "b")
    _, (status, body) = _ask(RequestHandler(pool), "GET", "/v1/models")
    rows = [{"id": name, "object": "model", "owned_by": "local"} for name in ("b", "a")]
    assert (status, json.loads(body)) == (200, {"object": "list", "data": rows})


def test_missing_key():
    response = post(handler_for(ScriptedEngine(), api_key="sk-right"), _CHAT)
    assert read(response) == (401, "Authentication Fails (governor)")


def test_wrong_key_echoes_its_last_four_characters_only():
    handler = handler_for(ScriptedEngine(), api_key="sk-right")
    status, body = read(post(handler, _CHAT, authorization="Bearer sk-wrong-0000"))
    assert status == 401
    assert json.loads(body)["error"]["message"] == "Authentication Fails, Your api key: ****0000 is invalid"


@pytest.mark.parametrize("header", ["Bearer sk-right", "bearer  sk-right "])
def test_right_key(header):
    handler = handler_for(ScriptedEngine(), api_key=ApiKey("sk-right"))
    assert read(post(handler, _CHAT, authorization=header))[0] == 200


def test_health_needs_no_key():
    assert _ask(handler_for(ScriptedEngine(), api_key="k"), "GET", "/health")[1] == (200, '{"status":"ok"}')


def test_key_is_never_shown():
    assert "right" not in repr(ApiKey("sk-right"))


@pytest.mark.parametrize("key", ["", " ", "two words", "line\n"])
def test_key_that_no_header_can_carry(key):
    with pytest.raises(ConfigError, match="API key"):
        ApiKey(key)


def test_model_that_is_not_pulled_names_the_command():
    def load():
        raise ModelNotPulledError("not on this machine", help_message="Run: deepseek-apps models pull toy")

    status, body = read(post(RequestHandler(ModelPool({"toy": load}, "toy")), _CHAT))
    assert status == 404
    assert "models pull toy" in json.loads(body)["error"]["message"]


def test_unexpected_failure_is_a_500_that_can_be_found_in_the_log(caplog):
    def load():
        raise ZeroDivisionError("secret detail")

    response = post(RequestHandler(ModelPool({"toy": load}, "toy")), _CHAT)
    status, body = read(response)
    assert status == 500
    assert response.headers["x-ds-trace-id"] in json.loads(body)["error"]["message"]
    assert "secret detail" not in body
    assert response.headers["x-ds-trace-id"] in caplog.text
