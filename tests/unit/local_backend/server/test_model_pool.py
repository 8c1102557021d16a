"""Loading once, from any thread, and closing."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from scripted_engine import ScriptedEngine

from local_backend.errors import CheckpointError, ConfigError, EngineStoppedError
from local_backend.sampling_params import SamplingParams
from local_backend.server import ModelPool


def test_default_must_be_served():
    with pytest.raises(ConfigError, match="'b' is not served") as caught:
        ModelPool({"a": ScriptedEngine}, "b")
    assert caught.value.help_message == "Choose one of: a."


def test_nothing_is_loaded_before_it_is_asked_for():
    ModelPool({"a": lambda: pytest.fail("loaded")}, "a").resolve("deepseek-flash")


def test_many_threads_load_once():
    loads = []

    def load():
        time.sleep(0.02)
        loads.append(threading.get_ident())
        return ScriptedEngine()

    pool = ModelPool({"a": load}, "a")
    with ThreadPoolExecutor(8) as threads:
        models = list(threads.map(lambda _: pool.get("a"), range(8)))
    assert len(loads) == 1
    assert all(model is models[0] for model in models)


def test_a_failed_load_is_tried_again():
    outcomes = iter([CheckpointError("torn"), None])

    def load():
        if error := next(outcomes):
            raise error
        return ScriptedEngine()

    pool = ModelPool({"a": load}, "a")
    with pytest.raises(CheckpointError):
        pool.get("a")
    assert pool.get("a").engine.model_id == "toy"


def test_close_closes_what_was_loaded_and_refuses_more():
    engine = ScriptedEngine()
    pool = ModelPool({"a": lambda: engine, "b": lambda: pytest.fail("loaded")}, "a")
    pool.get("a")
    pool.close()
    pool.close()
    assert engine.closed
    with pytest.raises(EngineStoppedError):
        pool.get("b")


def test_a_dead_engine_is_loaded_anew_by_the_next_request():
    def refuse(*args, **kwargs):
        raise EngineStoppedError("the engine died")

    engines = [ScriptedEngine(), ScriptedEngine()]
    engines[0].submit = refuse
    pool = ModelPool({"a": lambda: engines.pop(0)}, "a")
    with pytest.raises(EngineStoppedError):
        pool.submit("a", [1], SamplingParams())
    assert pool.submit("a", [1], SamplingParams())
    assert not engines
