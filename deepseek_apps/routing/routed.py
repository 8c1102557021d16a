"""A backend made of several: the transports behind it are the router's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import httpx2
from pydantic import SecretStr

from deepseek_apps.backends import Backend, BackendName, LocalBackend, Target, select_targets
from deepseek_apps.backends.local import Notice
from deepseek_apps.routing.policy import Policy
from deepseek_apps.routing.router import AsyncRouterTransport, RouterTransport
from deepseek_apps.routing.table import RouteTable
from deepseek_apps.settings import Settings

__all__ = ["RoutedBackend", "select_route", "targets_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedBackend(Backend):
    """Several backends behind one: name, address and default model are those of the preferred one.

    Attributes:
        policy: How the router chooses.
        targets: What it chooses from, preferred first.
    """

    policy: Policy
    targets: tuple[Target, ...]

    @classmethod
    def of(cls, policy: Policy, targets: tuple[Target, ...]) -> RoutedBackend:
        """Put targets together."""
        first = targets[0].replicas[0]
        return cls(
            policy=policy,
            targets=targets,
            base_url=first.base_url,
            api_key=first.api_key,
            default_model=first.default_model,
        )

    @property
    def name(self) -> BackendName:
        """Kind of the preferred backend."""
        return self.targets[0].kind

    def transport(self, inner: httpx2.BaseTransport | None = None) -> httpx2.BaseTransport:
        """Return a new router; its knowledge of who is well is its own."""
        return RouterTransport(RouteTable(self.policy, self.targets), inner)

    def async_transport(self, inner: httpx2.AsyncBaseTransport | None = None) -> httpx2.AsyncBaseTransport:
        """Return a new asynchronous router; its knowledge of who is well is its own."""
        return AsyncRouterTransport(RouteTable(self.policy, self.targets), inner)

    def model_name(self, name: str) -> str:
        """Return the name that the preferred backend would be sent."""
        return self.targets[0].replicas[0].model_name(name)

    def with_key(self, key: SecretStr) -> RoutedBackend:
        """Return the same with another key for the preferred backend, and for it alone."""
        first = self.targets[0]
        replicas = tuple(replace(one, api_key=key) for one in first.replicas)
        return RoutedBackend.of(self.policy, (replace(first, replicas=replicas), *self.targets[1:]))

    def with_model(self, model: str) -> RoutedBackend:
        """Return the same with another default model of the preferred backend."""
        first = self.targets[0]
        replicas = tuple(replace(one, default_model=model) for one in first.replicas)
        return RoutedBackend.of(self.policy, (replace(first, replicas=replicas), *self.targets[1:]))


def select_route(
    settings: Settings,
    *,
    base_url: str | Sequence[str] | None = None,
    api_key: str | SecretStr | None = None,
    model: str | None = None,
    notice: Notice | None = None,
) -> Backend:
    """Return the backend that the settings and the arguments of one call ask for, a router if need be.

    Args:
        settings, base_url, api_key, model: As for `select_targets`.
        notice: Told what loading a local model takes, if that needs saying.

    Raises:
        SettingsError: Something is missing or contradictory; the message says what.
        AuthenticationError: The hosted API was chosen and there is no key for it.
    """
    targets = select_targets(settings, base_url=base_url, api_key=api_key, model=model)
    targets = tuple(_with_notice(target, notice) for target in targets)
    first = targets[0]
    # A server of the config file has a name and perhaps a price, which its transport alone knows nothing of.
    if len(targets) == 1 and len(first.replicas) == 1 and first.label == first.kind:
        return first.replicas[0]
    known = settings.backend if settings.backend in {"auto", "cheapest", "private"} else "exact"
    policy = cast("Literal['auto', 'cheapest', 'private', 'exact']", known if len(targets) > 1 else "exact")
    return RoutedBackend.of(policy, targets)


def targets_of(backend: Backend) -> tuple[Target, ...]:
    """Return what may answer behind a backend, preferred first."""
    if isinstance(backend, RoutedBackend):
        return backend.targets
    return (Target(label=backend.name, replicas=(backend,)),)


def _with_notice(target: Target, notice: Notice | None) -> Target:
    replicas = tuple(
        replace(one, notice=notice) if isinstance(one, LocalBackend) else one for one in target.replicas
    )
    return replace(target, replicas=replicas)
