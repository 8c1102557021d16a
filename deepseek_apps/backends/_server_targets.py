"""The servers among what may answer: the one of base_url, and those of the config file by name."""

from __future__ import annotations

import os

from pydantic import SecretStr

from deepseek_apps.backends.guard import origin_of
from deepseek_apps.backends.server import ServerBackend
from deepseek_apps.backends.target import Target
from deepseek_apps.errors import SettingsError
from deepseek_apps.settings import Settings, split_addresses

__all__ = ["base_url_target", "named_target", "named_targets"]


def base_url_target(settings: Settings, addresses: tuple[str, ...] | None, key: SecretStr | None) -> Target:
    """Return the server at the given addresses, else at the configured ones, of which there must be one.

    Args:
        settings: What is configured.
        addresses: Those of this very call.
        key: Key of this very call; without it the configured key goes to the configured server's addresses.
    """
    configured = split_addresses(settings.base_url) if settings.base_url else ()
    own = {origin_of(url) for url in configured}
    replicas = tuple(
        ServerBackend(
            base_url=url,
            api_key=key or (settings.server_api_key if not own or origin_of(url) in own else None),
            default_model=settings.model,
        )
        for url in addresses or configured
    )
    return Target(label="server", replicas=replicas)


def named_targets(settings: Settings) -> list[Target]:
    """Return the servers of the config file, in its order.

    Raises:
        SettingsError: The variable that should hold a server's key is not set.
    """
    return [_named(settings, name, None, None) for name in settings.servers]


def named_target(
    settings: Settings,
    name: str,
    addresses: tuple[str, ...] | None,
    key: SecretStr | None,
    *,
    model: str | None,
) -> Target:
    """Return the one server that was asked for: by its name, or without a name the only one there can be.

    Args:
        settings: What is configured.
        name: A table of the config file; empty is the server of base_url, or else the only table.
        addresses, key, model: Those of this very call.

    Raises:
        SettingsError: There is no such server, no address, or more than one server to choose from.
    """
    if name:
        if addresses is not None:
            raise SettingsError(
                f"base_url={','.join(addresses)!r} contradicts backend='server:{name}', which has its own",
                help_message="Leave one of the two out.",
            )
        return _named(settings, name, key, model)
    if addresses is not None or settings.base_url is not None:
        return base_url_target(settings, addresses, key)
    if len(settings.servers) == 1:
        return _named(settings, next(iter(settings.servers)), key, model)
    if settings.servers:
        raise SettingsError(
            "backend='server' could be any of the config file's",
            help_message=f"Choose one: {_listed(settings)}.",
        )
    raise SettingsError(
        "the server backend needs the server's address",
        help_message="Pass base_url='http://127.0.0.1:8000/v1', or set DEEPSEEK_APPS_BASE_URL.",
    )


def _named(settings: Settings, name: str, key: SecretStr | None, model: str | None) -> Target:
    if name not in settings.servers:
        known = f"Known: {_listed(settings)}." if settings.servers else "Add a [servers.NAME] table."
        raise SettingsError(
            f"unknown server {name!r}", help_message=f"{known} See `deepseek-apps config path`."
        )
    row = settings.servers[name]
    own = key or _key_of(name, row.api_key_env)
    replicas = tuple(
        ServerBackend(
            base_url=url, api_key=own, default_model=model or row.model or settings.model, flavor=row.flavor
        )
        for url in row.base_urls
    )
    return Target(
        label=f"server:{name}", replicas=replicas, context=row.context, images=row.images, price=row.price
    )


def _key_of(name: str, variable: str | None) -> SecretStr | None:
    if variable is None:
        return None
    if not (value := os.environ.get(variable, "").strip()):
        raise SettingsError(
            f"the key of server {name!r} is not set", help_message=f"Set the environment variable {variable}."
        )
    return SecretStr(value)


def _listed(settings: Settings) -> str:
    return ", ".join(f"server:{name}" for name in settings.servers)
