"""How one fake behaves for life. Plain data, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

from deepseek_recipe import ModelVersion

from deepseek_apps.catalog import HostedModel, catalogue

__all__ = ["FakeOptions"]

_V41 = "DeepSeek-V4.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeOptions:
    """What `FakeDeepSeek` was made with; see there.

    Raises:
        ValueError: A value makes no sense.
    """

    api_key: str = "sk-fake-deepseek"
    models: tuple[str, ...] | None = None
    reasoning_policy: Literal["fill", "reject"] = "fill"
    usage_chunk: Literal["finish", "trailing"] = "finish"
    count_tokens: bool = True
    concurrency: int | None = None
    context: int | None = None
    balance: str = "110.00"
    currency: Literal["CNY", "USD"] = "CNY"

    def __post_init__(self) -> None:
        if self.reasoning_policy not in ("fill", "reject"):
            raise ValueError(f'reasoning_policy is {self.reasoning_policy!r}, not "fill" or "reject"')
        if self.usage_chunk not in ("finish", "trailing"):
            raise ValueError(f'usage_chunk is {self.usage_chunk!r}, not "finish" or "trailing"')
        try:
            Decimal(self.balance)
        except InvalidOperation:
            raise ValueError(f'balance is {self.balance!r}, not a number like "110.00"') from None

    @property
    def has_money(self) -> bool:
        """Whether generations are answered; without money they get the 402."""
        return Decimal(self.balance) > 0

    @property
    def served(self) -> Mapping[str, ModelVersion]:
        """The names `/models` lists, and the version whose prompt format each has."""
        if self.models is not None:
            return dict.fromkeys(self.models, ModelVersion.DeepseekV41Flash)
        return {name: _version(row) for name, row in catalogue().models.items()}

    def canonical(self, name: str) -> str | None:
        """Return the served name a request's name stands for, None for an unknown one."""
        served = self.served
        if name in served:
            return name
        alias = catalogue().aliases.get(name)
        return alias if alias in served else None

    def context_of(self, model: str) -> int:
        """Return how many tokens prompt and answer may have together."""
        if self.context is not None:
            return self.context
        row = catalogue().models.get(model)
        return row.context if row else 1_048_576


def _version(row: HostedModel) -> ModelVersion:
    is_v41 = row.checkpoint.startswith(_V41)
    return ModelVersion.DeepseekV41Flash if is_v41 else ModelVersion.DeepseekV4Pro
