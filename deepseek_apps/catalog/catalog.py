"""DeepSeek's hosted models and the names they go by. Which facts hold is data; there is no model name here.

Rows of the user's catalog.toml add to the package's own or take their place. Models that run on this machine
have their own catalogue in local_backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from deepseek_apps.catalog._files import Version, own_file, parse_rows, user_tables, user_version
from deepseek_apps.catalog.rows import HostedModel, Limit, ModelAlias, RetiredName
from deepseek_apps.errors import SettingsError

__all__ = ["Catalogue", "canonical_name", "catalogue", "limit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All facts about hosted models.

    Attributes:
        base_url: Address of the hosted API.
        default_model: Hosted model that answers when none is named.
        default_local_model: The same for the embedded engine.
        models: By id.
        aliases: Other accepted names, to the id they mean.
        retired: Names that are never sent, by name.
        limits: By name and model; the model is empty where one limit holds for all.
    """

    base_url: str
    default_model: str
    default_local_model: str
    models: Mapping[str, HostedModel]
    aliases: Mapping[str, str]
    retired: Mapping[str, RetiredName]
    limits: Mapping[tuple[str, str], Limit]

    def is_hosted_name(self, name: str) -> bool:
        """Whether the hosted API has, takes or once had a model of this name."""
        return name in self.models or name in self.aliases or name in self.retired

    def model_behind(self, name: str) -> str:
        """Return the id of the model that a name means or meant; unknown names pass unchanged."""
        if retired := self.retired.get(name):
            return retired.model
        return self.aliases.get(name, name)


def catalogue() -> Catalogue:
    """Return the facts about hosted models; read again only when the user's catalog.toml changes.

    Raises:
        SettingsError: The user's catalog.toml cannot be used; the message names the row.
    """
    return _catalogue(user_version())


def canonical_name(name: str) -> str:
    """Return the name to send to the hosted API; names it does not know pass unchanged.

    Raises:
        SettingsError: The name is retired; the message says what to use instead.
    """
    facts = catalogue()
    if retired := facts.retired.get(name):
        raise SettingsError(
            f"the model name {name!r} was retired by DeepSeek on {retired.date}",
            help_message=f'Use "{retired.model}" with thinking {retired.thinking}: '
            f'extra_body={{"thinking": {{"type": "{retired.thinking}"}}}}.',
        )
    return facts.aliases.get(name, name)


def limit(name: str, model: str = "") -> int:
    """Return a limit of the hosted API, such as "concurrency"; see limits.toml for the names and units.

    Args:
        name: The limit.
        model: Hosted model; where it has no limit of its own, the one for all models counts.

    Raises:
        SettingsError: There is no such limit.
    """
    facts = catalogue()
    row = facts.limits.get((name, facts.model_behind(model))) or facts.limits.get((name, ""))
    if row is None:
        known = ", ".join(sorted({known for known, _ in facts.limits}))
        raise SettingsError(
            f"no limit {name!r} is known for the model {model!r}", help_message=f"Known: {known}."
        )
    return row.value


@cache
def _catalogue(version: Version) -> Catalogue:
    data, user = own_file("models.toml"), user_tables(version)
    origin = str(version[0]) if version else "models.toml"
    own_models = {row["id"]: row for row in data["models"]}
    models = [own_models.get(row.get("id"), {}) | row for row in user.get("models", ())]
    aliases = [
        *parse_rows(ModelAlias, "aliases", data["aliases"], "models.toml"),
        *parse_rows(ModelAlias, "aliases", user.get("aliases", ()), origin),
    ]
    retired = [
        *parse_rows(RetiredName, "retired", data["retired"], "models.toml"),
        *parse_rows(RetiredName, "retired", user.get("retired", ()), origin),
    ]
    # A name that the user declares to be an alias or a model is in use, whatever we know of it.
    in_use = {row["name"] for row in user.get("aliases", ())} | {row.get("id") for row in models}
    return Catalogue(
        base_url=data["hosted"]["base_url"],
        default_model=data["hosted"]["default"],
        default_local_model=data["local"]["default"],
        models={
            row.id: row
            for row in (
                *parse_rows(HostedModel, "models", data["models"], "models.toml"),
                *parse_rows(HostedModel, "models", models, origin),
            )
        },
        aliases={row.name: row.model for row in aliases},
        retired={row.name: row for row in retired if row.name not in in_use},
        limits=_limits(version),
    )


def _limits(version: Version) -> dict[tuple[str, str], Limit]:
    user = user_tables(version).get("limits", ())
    origin = str(version[0]) if version else "limits.toml"
    rows = [
        *parse_rows(Limit, "limits", own_file("limits.toml")["limits"], "limits.toml"),
        *parse_rows(Limit, "limits", ({"unit": "", **row} for row in user), origin),
    ]
    return {(row.name, row.model): row for row in rows}
