"""The choice of a backend and the `[servers.NAME]` tables of the config file: what is accepted.

Shapes and checks only; settings.py reads them, backends/select.py acts on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import ErrorDetails

__all__ = [
    "BACKEND_CHOICES",
    "Addresses",
    "BackendChoice",
    "CheckedBackend",
    "ServerPrice",
    "ServerSettings",
    "check_backend",
    "check_base_url",
    "server_problem",
    "split_addresses",
]

# What answers, or how it is chosen; beside these, server:NAME is one of the servers in the config file.
BACKEND_CHOICES = ("auto", "hosted", "local", "server", "cheapest", "private")
BackendChoice: TypeAlias = str
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# An address may have a password in it, by mistake.
ADDRESS_KEYS = ("base_url", "base_urls")
DEEPSEEK_KEY_VARIABLE = "DEEPSEEK_API_KEY"


def check_backend(choice: str) -> str:
    """Return a backend's name or policy as it is, if there is one of that name.

    Raises:
        ValueError: There is none.
    """
    prefix, colon, name = choice.partition(":")
    if choice in BACKEND_CHOICES or (prefix == "server" and colon and NAME.fullmatch(name)):
        return choice
    raise ValueError(f"expected one of {', '.join(BACKEND_CHOICES)}, or server:NAME")


def check_base_url(url: str) -> str:
    """Return an http(s) address without its trailing slash.

    Raises:
        ValueError: It has no host, another scheme, or credentials in it.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected an address such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("expected an address without credentials, query or fragment")
    return url.strip().rstrip("/")


def split_addresses(urls: str | Iterable[str]) -> tuple[str, ...]:
    """Return one or several addresses, each checked; text holds them with commas between.

    Raises:
        ValueError: One is no address, is there twice, or there is none.
    """
    listed = urls.split(",") if isinstance(urls, str) else list(urls)
    addresses = tuple(check_base_url(url) for url in listed if url.strip() or len(listed) == 1)
    if not addresses:
        raise ValueError("expected at least one address")
    if len(set(addresses)) < len(addresses):
        raise ValueError("expected each address once")
    return addresses


def server_problem(detail: ErrorDetails) -> str:
    """Return what is wrong in the `[servers.NAME]` tables, with the value unless it may be a secret."""
    problem, value, place = detail["msg"].removeprefix("Value error, "), detail["input"], detail["loc"]
    if detail["type"] == "extra_forbidden":
        keys = "keys are not kept on disk; api_key_env names the variable that holds one"
        known = f"known are base_url, {', '.join(ServerSettings.model_fields)}"
        return f"unknown: {keys if 'key' in str(place[-1]) else known}"
    if detail["type"] == "missing":
        return "expected an address, or a list of them"
    shown = len(place) > 2 and place[-1] not in ADDRESS_KEYS and isinstance(value, str | bool | int | float)
    return f"{problem}, not {value!r}" if shown else problem


def _joined(value: object) -> object:
    """Accept a list where one address is expected: its members are replicas of one server."""
    if isinstance(value, list | tuple) and all(isinstance(url, str) for url in value):
        return ",".join(value)
    return value


def _check_addresses(value: str) -> str:
    return ",".join(split_addresses(value))


def _split(value: object) -> object:
    if not isinstance(value, str | list | tuple):
        raise ValueError("expected an address, or a list of them")
    return split_addresses(value) if isinstance(value, str) else value


def _check_each(value: tuple[str, ...]) -> tuple[str, ...]:
    return split_addresses(value)


CheckedBackend = Annotated[str, AfterValidator(check_backend)]
Addresses = Annotated[str, BeforeValidator(_joined), AfterValidator(_check_addresses)]


class ServerPrice(BaseModel):
    """What a server costs, in US dollars per million tokens: cached prompt, other prompt, and answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hit: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    miss: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    output: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class ServerSettings(BaseModel):
    """One `[servers.NAME]` table: a server of yours, with one or several replicas.

    Attributes:
        base_urls: Addresses that serve the same model; in the file also `base_url`.
        model: Name it serves; None asks it.
        api_key_env: Environment variable that holds its key; keys themselves are not kept on disk.
        flavor: What software it is, such as vllm; None recognises it.
        context: Longest prompt and answer in tokens; None is unknown.
        images: Whether its model sees images.
        price: What it costs; default nothing.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True
    )

    base_urls: Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_check_each)]
    model: str | None = Field(default=None, min_length=1)
    api_key_env: str | None = Field(default=None, min_length=1)
    flavor: str | None = Field(default=None, min_length=1)
    context: int | None = Field(default=None, gt=0)
    images: bool = False
    price: ServerPrice = ServerPrice()

    @model_validator(mode="before")
    @classmethod
    def _one_address(cls, data: object) -> object:
        if not isinstance(data, dict) or "base_url" not in data:
            return data
        if "base_urls" in data:
            raise ValueError("expected base_url or base_urls, not both")
        return {"base_urls" if key == "base_url" else key: value for key, value in data.items()}

    @model_validator(mode="after")
    def _own_key(self) -> ServerSettings:
        if self.api_key_env == DEEPSEEK_KEY_VARIABLE:
            raise ValueError("api_key_env: the DeepSeek key is not sent to servers; name another variable")
        return self

    def __str__(self) -> str:
        parts = [" ".join(self.base_urls), *([f"model {self.model}"] if self.model else [])]
        return ", ".join(parts)
