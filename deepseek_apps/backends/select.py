"""Who may answer, with which address and key, in order of preference: a pure decision over the settings.

A key goes only to the address it was given for. The DeepSeek key of the environment was given for DeepSeek's
API, the server key for the configured server, and an `api_key` argument for the address of the same call.
Which of several targets a request goes to is the router's decision, not made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic import SecretStr

from deepseek_apps.backends._server_targets import base_url_target, named_target, named_targets
from deepseek_apps.backends.base import Backend
from deepseek_apps.backends.guard import is_loopback, origin_of
from deepseek_apps.backends.hosted import HostedBackend
from deepseek_apps.backends.local import LocalBackend, require_local_extras
from deepseek_apps.backends.target import Target
from deepseek_apps.catalog import canonical_name, catalogue
from deepseek_apps.errors import AuthenticationError, SettingsError
from deepseek_apps.settings import Settings, split_addresses

__all__ = ["select_backend", "select_targets"]


def select_backend(
    settings: Settings, *, base_url: str | None = None, api_key: str | SecretStr | None = None
) -> Backend:
    """Return the preferred backend alone; see `select_targets`."""
    return select_targets(settings, base_url=base_url, api_key=api_key)[0].replicas[0]


def select_targets(
    settings: Settings,
    *,
    base_url: str | Sequence[str] | None = None,
    api_key: str | SecretStr | None = None,
    model: str | None = None,
) -> tuple[Target, ...]:
    """Return what may answer, preferred first; an address or a backend named by the caller is the only one.

    Args:
        settings: What is configured.
        base_url: Address given by the caller of this very call; wins over the configured one. Several, with
            commas between, are replicas of one server.
        api_key: Key given by the caller, for that address.
        model: Model given by the caller; wins over the one of a `[servers.NAME]` table.

    Raises:
        SettingsError: Something is missing or contradictory; the message says what.
        AuthenticationError: The hosted API was chosen and there is no key for it.
    """
    addresses = None if base_url is None else _checked(base_url)
    key = SecretStr(api_key) if isinstance(api_key, str) else api_key
    if key is not None and not key.get_secret_value().strip():
        key = None
    choice, _, name = settings.backend.partition(":")
    if choice == "hosted":
        return (_hosted(settings, addresses, key),)
    if choice == "local":
        return (_local(settings, addresses),)
    if choice == "server":
        return (named_target(settings, name, addresses, key, model=model),)
    if choice == "private":
        return _private(settings, addresses, key)
    return _all(settings, addresses, key)


def _all(settings: Settings, addresses: tuple[str, ...] | None, key: SecretStr | None) -> tuple[Target, ...]:
    """List everything configured: servers, the hosted API if there is a key, then this machine.

    An address in the call itself is meant as it stands: nothing else may see the request.
    """
    if addresses is not None:
        hosted = _is_hosted(addresses[0])
        return (_hosted(settings, addresses, key) if hosted else base_url_target(settings, addresses, key),)
    targets = []
    if settings.base_url and not _is_hosted(settings.base_url):
        targets.append(base_url_target(settings, None, key))
        key = None
    targets += named_targets(settings)
    wants_hosted = settings.base_url is not None and _is_hosted(settings.base_url)
    if key or settings.api_key or (wants_hosted and not targets):
        targets.append(_hosted(settings, None, key, first=not targets))
    return (*targets, *_this_machine(settings, first=not targets))


def _private(
    settings: Settings, addresses: tuple[str, ...] | None, key: SecretStr | None
) -> tuple[Target, ...]:
    """List what is on this machine: servers on its own addresses, then the embedded engine."""
    if addresses is not None:
        if not all(map(is_loopback, addresses)):
            raise SettingsError(
                f"base_url={','.join(addresses)!r} is not on this machine, and backend='private' stays on it",
                help_message="Use an address such as http://127.0.0.1:8000/v1, or another backend.",
            )
        return (base_url_target(settings, addresses, key),)
    everything = [
        *([base_url_target(settings, None, key)] if settings.base_url else []),
        *named_targets(settings),
    ]
    near = [
        replace(target, replicas=replicas)
        for target in everything
        if (replicas := tuple(one for one in target.replicas if is_loopback(one.base_url)))
    ]
    return (*near, *_this_machine(settings, first=not near))


def _this_machine(settings: Settings, *, first: bool) -> tuple[Target, ...]:
    if first:
        return (_local(settings, None),)
    try:
        local = _local(settings, None)
    except SettingsError:  # not installed, and not needed
        return ()
    backend = local.replicas[0]
    assert isinstance(backend, LocalBackend)
    own = catalogue().default_local_model
    if backend.default_model == own or backend.is_pulled():
        return (local,)
    # The configured model is another backend's.
    usual = replace(backend, default_model=own)
    return (replace(local, replicas=(usual,)),)


def _hosted(
    settings: Settings, addresses: tuple[str, ...] | None, key: SecretStr | None, *, first: bool = True
) -> Target:
    if addresses is not None and len(addresses) > 1:
        raise SettingsError(
            "the hosted API has one address", help_message="Give one base_url, or use backend='server'."
        )
    configured = settings.base_url if settings.base_url and _is_hosted(settings.base_url) else None
    target = (addresses[0] if addresses else None) or configured or catalogue().base_url
    if not target.startswith("https://") and not is_loopback(target):
        raise SettingsError(
            f"refused to send a DeepSeek key unencrypted to {target}", help_message="Use an https:// address."
        )
    if key is None and not _is_hosted(target):
        raise SettingsError(
            f"DEEPSEEK_API_KEY is for {catalogue().base_url} and is not sent to {target}",
            help_message="Pass api_key= together with base_url=, or use backend='server'.",
        )
    key = key or settings.api_key
    if key is None:
        raise AuthenticationError(
            "the hosted backend needs a DeepSeek API key",
            help_message="Set DEEPSEEK_API_KEY (keys: https://platform.deepseek.com/api_keys), or use "
            "backend='local'.",
        )
    backend = HostedBackend(base_url=target, api_key=key, default_model=_hosted_model(settings, first=first))
    return Target(label=backend.name, replicas=(backend,))


def _hosted_model(settings: Settings, *, first: bool) -> str:
    """Return the configured model; behind a server only if it is one of the API's own."""
    facts = catalogue()
    if settings.model and (first or settings.model in {*facts.models, *facts.aliases}):
        return canonical_name(settings.model)
    return facts.default_model


def _local(settings: Settings, addresses: tuple[str, ...] | None) -> Target:
    if addresses is not None:
        raise SettingsError(
            f"base_url={','.join(addresses)!r} has no meaning for the local backend",
            help_message="Leave base_url out, or use backend='server'.",
        )
    try:
        require_local_extras()
    except SettingsError as error:
        if settings.backend not in {"auto", "cheapest"}:
            raise
        raise SettingsError(
            f"no backend: there is no DeepSeek key, no server address, and {error}",
            help_message="Set DEEPSEEK_API_KEY, or set DEEPSEEK_APPS_BASE_URL, or run: "
            "pip install 'deepseek-apps[local]'",
        ) from None
    # A hosted model's name means "the usual one" here, so that one configuration serves both.
    named = settings.model if settings.model and not catalogue().is_hosted_name(settings.model) else None
    backend = LocalBackend(
        default_model=named or catalogue().default_local_model,
        quantization=settings.quantization,
        cache_dtype=settings.cache_dtype,
        prefix_cache_bytes=settings.prefix_cache_bytes,
        speculation=settings.speculation,
    )
    return Target(label=backend.name, replicas=(backend,), images=False)


def _is_hosted(url: str) -> bool:
    return origin_of(url.split(",", maxsplit=1)[0]) == origin_of(catalogue().base_url)


def _checked(base_url: str | Sequence[str]) -> tuple[str, ...]:
    try:
        return split_addresses(base_url)
    except ValueError as error:
        raise SettingsError(f"base_url={base_url!r}: {error}", help_message="Change base_url.") from None
