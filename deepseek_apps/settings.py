"""What the user configured, frozen: argument, then environment, then config file, then default.

Secrets come from arguments and the environment only; they are neither read from nor written to the file.
Choosing a backend from these values is backends/select.py.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as VariableError

from deepseek_apps._config_file import read_config, write_config_value
from deepseek_apps._engine_choices import CacheDtype, Quantization, Speculation
from deepseek_apps._server_settings import (
    NAME,
    Addresses,
    BackendChoice,
    CheckedBackend,
    ServerPrice,
    ServerSettings,
    check_base_url,
    server_problem,
    split_addresses,
)
from deepseek_apps.errors import SettingsError

__all__ = [
    "BackendChoice",
    "CacheDtype",
    "Quantization",
    "ServerPrice",
    "ServerSettings",
    "Settings",
    "Speculation",
    "check_base_url",
    "config_path",
    "describe",
    "load_settings",
    "save_setting",
    "split_addresses",
]

ENV_PREFIX = "DEEPSEEK_APPS_"
SECRET_VARIABLES = {"api_key": "DEEPSEEK_API_KEY", "server_api_key": "DEEPSEEK_APPS_SERVER_API_KEY"}


class _Fields(BaseModel):
    """The fields alone, so that one value can be checked without reading environment and file."""

    model_config = ConfigDict(str_strip_whitespace=True, hide_input_in_errors=True)

    backend: CheckedBackend = "auto"
    model: str | None = Field(default=None, min_length=1)
    api_key: SecretStr | None = Field(default=None, validation_alias=SECRET_VARIABLES["api_key"])
    base_url: Addresses | None = None
    server_api_key: SecretStr | None = None
    servers: dict[str, ServerSettings] = Field(default_factory=dict)
    timeout: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    deadline: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_retries: int = Field(default=2, ge=0, le=10)
    quantization: Quantization = "auto"
    cache_dtype: CacheDtype = "auto"
    speculation: Speculation = "auto"
    prefix_cache_gb: float | None = Field(default=None, ge=0, le=1e6)
    ledger: bool = True
    currency: Literal["USD", "CNY"] = "USD"
    budget_per_day: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @field_validator("servers")
    @classmethod
    def _check_names(cls, servers: dict[str, ServerSettings]) -> dict[str, ServerSettings]:
        for name in servers:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r}: expected letters, digits, dot, dash and underscore")
        return servers


class Settings(_Fields, BaseSettings):
    """Everything a client needs to know; build it with `load_settings`.

    Attributes:
        backend: Who answers: hosted, local, server (of base_url, or the only one in the file), server:NAME,
            or who may: `auto` prefers a server, then hosted if there is a DeepSeek key, then local;
            `cheapest` prefers whom this very request costs least; `private` stays on this machine.
        model: Model name; None is the backend's own default.
        api_key: Key for DeepSeek's hosted API, from DEEPSEEK_API_KEY. Never taken from OPENAI_API_KEY.
        base_url: Address of an OpenAI-compatible server; several, with commas between, are replicas of one.
        server_api_key: Key for that server, from DEEPSEEK_APPS_SERVER_API_KEY.
        servers: More servers, by name: the file's `[servers.NAME]` tables.
        timeout: Seconds to wait for the next byte.
        deadline: Seconds a whole call may take; None is no limit.
        max_retries: How often a failed request is sent again.
        quantization, cache_dtype, speculation: The local backend's weights, cache, and whether it guesses
            tokens ahead; see local_backend's EngineConfig.
        prefix_cache_gb: Disk for the local backend's prefixes of long prompts; 0 is off, None its default.
        ledger: Whether token counts and cost of every call are kept; see `deepseek-apps cost`.
        currency: What amounts are shown in: USD or CNY.
        budget_per_day: US dollars that all this user's calls of a local day may cost; None is no limit.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
    )

    @property
    def prefix_cache_bytes(self) -> int | None:
        """prefix_cache_gb as the engine takes it."""
        return None if self.prefix_cache_gb is None else int(self.prefix_cache_gb * 1e9)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  no .env file is read behind the user's back
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, then the config file."""
        path = config_path()
        values = read_config(path)
        for key in values:
            _refuse_unusable_key(key, where=f"in {path}")
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=values)


def config_path() -> Path:
    """Return where the config file is, whether or not it exists; DEEPSEEK_APPS_CONFIG overrides it."""
    if override := os.environ.get("DEEPSEEK_APPS_CONFIG"):
        return Path(override).expanduser()
    return platformdirs.user_config_path("deepseek-apps", appauthor=False) / "config.toml"


def load_settings(**overrides: object) -> Settings:
    """Read the settings; arguments win over the environment, the environment over the file.

    Args:
        overrides: Any field of Settings by name; None means not given.

    Raises:
        SettingsError: A key is unknown or a value unusable; the message names it and where it came from.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    for key in given:
        _refuse_unknown_key(key, where="among the arguments", known=Settings.model_fields)
    # By its variable's name alone, so that no other variable (API_KEY, …_APPS_API_KEY) can supply the key.
    arguments = {SECRET_VARIABLES["api_key"] if key == "api_key" else key: given[key] for key in given}
    try:
        return Settings(**arguments)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        raise _from_validation(error, given) from None
    except VariableError as error:  # a table in a variable has to be JSON
        raise SettingsError(
            str(error), help_message=f"Write [servers.NAME] tables in {config_path()} instead."
        ) from None


def save_setting(key: str, value: str | int | float) -> Path:
    """Write one key to the config file and keep everything else in it; all of the change lands, or none.

    Args:
        key: A field of Settings that is not a secret.
        value: Its new value; text is converted to the field's type.

    Returns:
        The file's path.

    Raises:
        SettingsError: The key is unknown or secret, the value unusable, or the file not writable.
    """
    path = config_path()
    if key.partition(".")[0] == "servers":
        raise SettingsError(
            f"{key!r} is no single value", help_message=f"Write [servers.NAME] tables into {path}."
        )
    _refuse_unusable_key(key, where="for the config file")
    try:
        clean = getattr(_Fields.model_validate({key: value}), key)
        assert isinstance(clean, str | int | float), "tables are refused by their type"
    except ValidationError as error:
        raise _from_validation(error, {key: value}) from None
    write_config_value(path, key, clean)
    return path


def describe(settings: Settings) -> dict[str, str]:
    """Return every field as text for people; a key shows at most its last four characters."""
    return {key: _display(getattr(settings, key)) for key in Settings.model_fields}


def _refuse_unusable_key(key: str, *, where: str) -> None:
    if key in SECRET_VARIABLES:
        raise SettingsError(
            f"{key!r} {where}: keys are not kept on disk",
            help_message=f"Set the environment variable {SECRET_VARIABLES[key]} instead.",
        )
    _refuse_unknown_key(
        key, where=where, known=[k for k in Settings.model_fields if k not in SECRET_VARIABLES]
    )


def _refuse_unknown_key(key: str, *, where: str, known: Iterable[str]) -> None:
    names = list(known)
    if key not in names:
        close = difflib.get_close_matches(key, names, n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise SettingsError(
            f"unknown setting {key!r} {where}", help_message=f"{hint}Known: {', '.join(names)}."
        )


def _from_validation(error: ValidationError, given: dict[str, object]) -> SettingsError:
    """Name the first bad value and its origin; the value itself is shown unless it is a secret."""
    detail = error.errors(include_url=False, include_context=False)[0]
    key = str(detail["loc"][0])
    problem = detail["msg"].removeprefix("Value error, ")
    if key in SECRET_VARIABLES or key in SECRET_VARIABLES.values():
        return SettingsError(f"{key}: {problem}", help_message="Check the key.")
    variable = f"{ENV_PREFIX}{key.upper()}"
    if key in given:
        origin, value = "the argument", given[key]
    elif os.environ.get(variable):
        origin, value = f"the environment variable {variable}", os.environ[variable]
    else:
        origin, value = str(config_path()), read_config(config_path()).get(key)
    inner = ".".join(str(part) for part in detail["loc"])
    if key == "servers":
        problem = server_problem(detail)
    shown = inner if key == "servers" else f"{key}={value!r}"
    return SettingsError(f"{shown}: {problem}", help_message=f"Change {key} in {origin}.")


def _display(value: object) -> str:
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return f"****{secret[-4:]}" if len(secret) >= 16 else "****"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {row}" for name, row in value.items()) or "none"
    return "not set" if value is None else str(value)
