"""The server's own API key: compared in constant time, never printed."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from local_backend.errors import ConfigError

__all__ = ["ApiKey", "bearer_token"]


class ApiKey:
    """A key the server asks for; only its digest is kept.

    Args:
        value: The key as clients send it.

    Raises:
        ConfigError: The key is empty or holds blanks, which no header can carry.
    """

    def __init__(self, value: str) -> None:
        if not value or value.split() != [value]:
            raise ConfigError(
                "the API key is empty or holds blanks",
                help_message="Pass one word, for example the output of `openssl rand -hex 24`.",
            )
        self._digest = _digest(value)

    def __repr__(self) -> str:
        return "ApiKey('****')"

    def matches(self, candidate: str) -> bool:
        """Compare in a time that says nothing about the key or its length."""
        return hmac.compare_digest(self._digest, _digest(candidate))


def bearer_token(headers: Mapping[str, str]) -> str | None:
    """Return the key of an `Authorization: Bearer` header, or None when there is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode(errors="surrogatepass")).digest()
