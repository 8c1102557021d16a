"""One deadline for all attempts of a call: the openai SDK repeats requests, and would start it anew.

Imports the SDK, so only client.py imports it.
"""

from __future__ import annotations

from typing import Any

import httpx2
from openai._models import FinalRequestOptions

from deepseek_apps.routing.deadline import DEADLINE_HEADER, fixed_end, time_left

__all__ = ["OneDeadline"]


class OneDeadline:
    """Goes before an SDK client among the bases of a class; the same for both kinds of client."""

    def request(self, cast_to: Any, options: FinalRequestOptions, **rest: Any) -> Any:
        """Make a call; its deadline, if it has one, is fixed before the first attempt."""
        return super().request(cast_to, self._with_fixed_end(options), **rest)  # type: ignore[misc]

    def _with_fixed_end(self, options: FinalRequestOptions) -> FinalRequestOptions:
        headers = dict(options.headers) if isinstance(options.headers, dict) else {}
        own: dict[str, str] = getattr(self, "_custom_headers", {})
        names = {name.lower(): name for name in headers}
        given = headers.pop(names.get(DEADLINE_HEADER, ""), own.get(DEADLINE_HEADER))
        seconds = getattr(getattr(self, "_client", None), "deadline", None) if given is None else given
        try:
            fixed = fixed_end(float(seconds))  # type: ignore[arg-type]  # the transport judges nonsense
        except (TypeError, ValueError):
            return options
        return options.model_copy(update={"headers": {**headers, DEADLINE_HEADER: fixed}})

    def _calculate_retry_timeout(
        self,
        remaining_retries: int,
        options: FinalRequestOptions,
        response_headers: httpx2.Headers | None = None,
    ) -> float:
        # Not longer than is left: the next attempt then finds that it comes too late.
        pause: float = super()._calculate_retry_timeout(  # type: ignore[misc]
            remaining_retries, options, response_headers
        )
        headers = options.headers if isinstance(options.headers, dict) else {}
        end = headers.get(DEADLINE_HEADER)
        left = time_left(end) if isinstance(end, str) else None
        return pause if left is None else max(min(pause, left), 0.0)
