"""What is left on a DeepSeek account: the reply of `GET /user/balance` as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from deepseek_apps.errors import BackendError, SettingsError

__all__ = ["BALANCE_PATH", "Balance", "BalanceInfo", "balance_from_wire", "require_account"]

# https://api-docs.deepseek.com/api/get-user-balance, read 2026-11.
BALANCE_PATH = "/user/balance"


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceInfo:
    """What is left in one currency.

    Attributes:
        currency: "USD" or "CNY".
        total: All of it.
        granted: Of that, what DeepSeek gave; it is spent first.
        topped_up: Of that, what was paid in.
    """

    currency: str
    total: Decimal
    granted: Decimal
    topped_up: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What is left on the account.

    Attributes:
        available: Whether it is enough for calls.
        infos: One entry per currency.
    """

    available: bool
    infos: tuple[BalanceInfo, ...]

    def total(self, currency: str = "USD") -> Decimal:
        """Return what is left in one currency, 0 if the account holds none; nothing is converted."""
        return sum((info.total for info in self.infos if info.currency == currency), Decimal(0))


def balance_from_wire(reply: object) -> Balance:
    """Read the reply of the API.

    Raises:
        BackendError: It is not what the API documents.
    """
    try:
        return _read(reply)
    except (KeyError, TypeError, InvalidOperation) as error:
        raise BackendError(
            f"the account's balance cannot be read from {str(reply)[:200]!r}",
            status=200,
            help_message="Check that base_url is DeepSeek's API.",
        ) from error


def require_account(backend: str) -> None:
    """Refuse to ask who keeps no account.

    Raises:
        SettingsError: The backend is not DeepSeek's API.
    """
    if backend != "hosted":
        raise SettingsError(
            f"the {backend} backend has no balance: only an account at DeepSeek has",
            help_message="Use backend='hosted' with a DeepSeek key.",
        )


def _read(reply: Any) -> Balance:
    rows: list[Mapping[str, Any]] = reply["balance_infos"]
    return Balance(
        available=bool(reply["is_available"]),
        infos=tuple(
            BalanceInfo(
                currency=str(row["currency"]),
                total=Decimal(str(row["total_balance"])),
                granted=Decimal(str(row.get("granted_balance", "0"))),
                topped_up=Decimal(str(row.get("topped_up_balance", "0"))),
            )
            for row in rows
        ),
    )
