"""Whom the policies prefer, what a model is called elsewhere, and that private means private."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fake_deepseek import FakeDeepSeek, error, fake_deepseek, models
from pydantic import SecretStr
from routes import Ask, ask_async, ask_sync, closed_port, hosted, routed, server

from deepseek_apps.backends import LocalBackend, Target
from deepseek_apps.routing.facts import read_facts
from deepseek_apps.routing.model_names import target_model
from deepseek_apps.routing.table import RouteTable
from deepseek_apps.settings import ServerPrice


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return request.param


@pytest.fixture
def second() -> Iterator[FakeDeepSeek]:
    with fake_deepseek() as server:
        yield server


def test_cheapest_asks_whom_the_request_costs_least(
    ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek
) -> None:
    dear, cheap = ServerPrice(miss=5.0, output=5.0), ServerPrice(miss=0.1, output=0.1)
    outcome = ask(routed("cheapest", server(fake, price=dear), server(second, name="cheap", price=cheap)))
    assert (len(fake.asked), len(second.asked)) == (0, 1)
    assert outcome.route.startswith(f"server:cheap {second.url} (cheapest: about 0.000")


def test_a_server_that_costs_nothing_comes_before_the_hosted_api(
    ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek
) -> None:
    ask(routed("cheapest", hosted(fake), server(second)))
    assert fake.asked == []


def test_a_cheap_one_that_cannot_serve_the_request_is_passed_over(
    ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek
) -> None:
    backend = routed("cheapest", hosted(fake), server(second, context=1000, images=False))
    long = ask(backend, model="deepseek-flash", messages=[{"role": "user", "content": "word " * 4000}])
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    image = ask(backend, model="deepseek-flash", messages=[{"role": "user", "content": [picture]}])
    assert "without server:gpu: its context is 1000 tokens" in long.route
    assert "without server:gpu: sees no images" in image.route
    assert (len(fake.asked), second.asked) == (2, [])


def test_private_asks_nobody_else_whatever_fails(ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek) -> None:
    fake.script.append(error(503, "overloaded"))
    far = server("http://server.example/v1", name="far")
    assert ask(routed("private", server(fake), far)).status == 503
    assert len(fake.asked) == 1


def test_a_hosted_name_becomes_the_servers_own_model(ask: Ask, fake: FakeDeepSeek) -> None:
    fake.script.append(models("big", "other"))
    outcome = ask(
        routed("auto", server(fake, model=None), hosted(closed_port())), model="deepseek-flash", temperature=0
    )
    assert outcome.status == 200
    assert (fake.asked[1].body["model"], fake.asked[1].body["temperature"]) == ("big", 0)
    assert outcome.route == f"server:gpu {fake.url} as big"


def test_a_hosted_name_that_a_server_serves_stays(ask: Ask, fake: FakeDeepSeek) -> None:
    fake.script.append(models("big", "deepseek-flash"))
    ask(routed("auto", server(fake, model="big"), hosted(closed_port())), model="deepseek-flash")
    assert fake.asked[1].body["model"] == "deepseek-flash"


def test_the_account_is_asked_for_at_the_hosted_api(fake: FakeDeepSeek, second: FakeDeepSeek) -> None:
    from deepseek_apps.backend_client import BackendClient

    with BackendClient(routed("auto", server(fake), hosted(second))) as client:
        client.get("user/balance")
    assert ([asked.path for asked in second.asked], fake.asked) == (["/user/balance"], [])


def test_files_go_to_the_preferred_backend_once(ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek) -> None:
    fake.script.append(error(503, "overloaded"))
    assert ask(routed("auto", server(fake), hosted(second)), path="files").status == 503
    assert second.asked == []


def test_path_prefixes_are_each_backends_own(ask: Ask, fake: FakeDeepSeek, second: FakeDeepSeek) -> None:
    fake.script.append(error(503, "overloaded"))
    backend = routed("auto", server(f"{fake.url}/v1"), hosted(second))
    ask(backend, path="completions?x=1", prompt="def f(", suffix="return")
    assert [asked.path for asked in (fake.asked[0], second.asked[0])] == [
        "/v1/completions?x=1",
        "/beta/completions?x=1",
    ]


def test_local_is_no_fallback_without_its_model(
    ask: Ask, fake: FakeDeepSeek, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("DEEPSEEK_APPS_CACHE_DIR", str(tmp_path))
    local = Target(label="local", replicas=(LocalBackend(),), images=False)
    fake.script.append(error(503, "overloaded"))
    assert ask(routed("auto", hosted(fake), local), model="deepseek-flash").status == 503
    answered = ask(routed("auto", hosted(fake), local), model="deepseek-flash")
    assert answered.route.endswith("without local: its model is not on this machine")


@pytest.mark.parametrize(
    ("kind", "asked", "preferred", "sent"),
    [
        ("hosted", "deepseek-flash", False, "deepseek-flash"),
        ("hosted", "my-own", True, "my-own"),
        ("hosted", "my-own", False, "deepseek-flash"),
        ("server", "my-own", True, "my-own"),
        ("server", "my-own", False, "m"),
        ("server", "served", False, "served"),
        ("server", "deepseek-v4-pro", True, "m"),
        ("local", "deepseek-flash", True, "starter"),
        ("local", "pulled", False, "pulled"),
        ("local", "absent", False, "starter"),
        ("local", None, False, None),
    ],
)
def test_names_of_models(kind: str, asked: str | None, preferred: bool, sent: str | None) -> None:
    target = {
        "hosted": hosted("http://127.0.0.1:9"),
        "server": server("http://127.0.0.1:9"),
        "local": Target(label="local", replicas=(LocalBackend(),)),
    }[kind]
    pulled = {"pulled"}.__contains__
    name = target_model(target, asked, preferred=preferred, served=("m", "served"), is_pulled=pulled)
    assert name == sent


def test_costs_of_this_very_request_now() -> None:
    price = ServerPrice(miss=1.0, output=2.0)
    table = RouteTable("cheapest", [server("http://127.0.0.1:9", price=price), hosted("http://127.0.0.1:9")])
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * 1000}], "max_tokens": 100}
    facts = read_facts("POST", "/chat/completions", body)
    assert table.cost(0, facts) == pytest.approx((facts.prompt_tokens * 1.0 + 100 * 2.0) / 1e6)
    assert 0 < (table.cost(1, facts) or 0) < 0.01


def test_a_routed_backend_takes_a_key_and_a_model_for_its_preferred_target() -> None:
    backend = routed("auto", hosted("http://127.0.0.1:9"), server("http://127.0.0.1:9"))
    changed = backend.with_key(SecretStr("other")).with_model("deepseek-v4-pro")
    assert changed.targets[0].replicas[0].api_key == SecretStr("other")
    assert (changed.default_model, changed.name) == ("deepseek-v4-pro", "hosted")
    assert changed.targets[1] == backend.targets[1]
    assert json.dumps(repr(changed)).count("other") == 0
