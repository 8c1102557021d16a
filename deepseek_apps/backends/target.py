"""A target: what a request can be sent to, with what is known of it before it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_apps.backends.base import Backend, BackendName
from deepseek_apps.settings import ServerPrice

__all__ = ["Target", "answering"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One backend of the user's choice; a server may have several replicas.

    Attributes:
        label: hosted, local, server, or server:NAME.
        replicas: Equal backends; all but servers have one.
        context: Longest prompt and answer in tokens; None is unknown, or depends on the model.
        images: Whether it sees images; None is unknown, or depends on the model.
        price: What it costs, for servers; None leaves it to the catalogue.
    """

    label: str
    replicas: tuple[Backend, ...]
    context: int | None = None
    images: bool | None = None
    price: ServerPrice | None = None

    @property
    def kind(self) -> BackendName:
        """Whether it is hosted, local or a server."""
        return self.replicas[0].name

    @property
    def default_model(self) -> str | None:
        """Its model where none is named; None if only the server knows."""
        return self.replicas[0].default_model


def answering(targets: Sequence[Target], label: str) -> Target:
    """Return the target that a reply's headers name, by label or kind; the first if they name none."""
    return next((target for target in targets if label in {target.label, target.kind}), targets[0])
