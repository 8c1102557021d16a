"""How a batch is run: one frozen set of choices, and how many requests at once go with a backend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from deepseek_apps.backends import BackendName
from deepseek_apps.catalog import catalogue, limit
from deepseek_apps.errors import SettingsError

__all__ = ["BatchOptions", "default_concurrency"]

# More at once than this only when asked for: one machine gains little, and others share the account.
MOST_BY_DEFAULT = 64
LOCAL_CONCURRENCY = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How a batch is run.

    Attributes:
        concurrency: Most requests at once; None is 4 on this machine, else what the account may have at once,
            at most 64. Fewer run while the backend refuses that many.
        max_retries: How often a request is sent again after 500, 503, a time-out or a lost connection. A
            refusal for the number of requests at once does not count.
        off_peak: Send only while DeepSeek's lower price holds.
        budget: Most that the batch may cost, earlier runs of it included, in USD; None is no limit.
        timeout: Seconds after which no more requests are sent and those in flight are given up; None waits.

    Raises:
        SettingsError: A number is out of range.
    """

    concurrency: int | None = None
    max_retries: int = 5
    off_peak: bool = False
    budget: Decimal | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.concurrency is not None and self.concurrency < 1:
            raise SettingsError(
                f"concurrency={self.concurrency}: expected at least 1", help_message="Change concurrency."
            )
        if self.max_retries < 0:
            raise SettingsError(
                f"max_retries={self.max_retries}: expected 0 or more", help_message="Change max_retries."
            )
        if self.budget is not None and not self.budget > 0:
            raise SettingsError(f"budget={self.budget}: expected more than 0", help_message="Change budget.")


def default_concurrency(backend: BackendName, models: Iterable[str]) -> int:
    """Return how many requests to have in flight at most, where the user has not said.

    Args:
        backend: Who answers.
        models: Models that the requests name; "" is the backend's own.
    """
    if backend == "local":
        return LOCAL_CONCURRENCY
    if backend == "server":
        return MOST_BY_DEFAULT
    facts = catalogue()
    named = [facts.model_behind(model or facts.default_model) for model in models]
    limits = [limit("concurrency", model) for model in named if model in facts.models]
    return min([MOST_BY_DEFAULT, *limits])
