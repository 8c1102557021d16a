"""What `ask` and `chat` share: from options to a client, and what is said about an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepseek_apps.cli.prompt_input import check_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepseek_apps.answer import Answer
    from deepseek_apps.backend_client import BackendClient
    from deepseek_apps.cli.options import BackendName, CacheDtypeName, QuantizationName, SpeculationName
    from deepseek_apps.cost import Cost
    from local_backend.config import EngineConfig

__all__ = [
    "answer_cost",
    "answer_notes",
    "connect",
    "engine_config",
    "hosted_models",
    "local_model_name",
    "system_messages",
]


def connect(
    *,
    backend: BackendName | None,
    model: str | None,
    base_url: str | None,
    notice: Callable[[str], None] | None = None,
) -> BackendClient:
    """Return a client; what is not given comes from the settings. Naming a server implies its backend.

    Args:
        backend, model, base_url: As on the command line.
        notice: Told what loading a local model will take, if that needs saying.

    Raises:
        SettingsError: A setting cannot be used.
    """
    from deepseek_apps.backend_client import http_client  # noqa: PLC0415  lazy: it loads httpx2

    given: dict[str, Any] = {"backend": backend, "model": model, "base_url": base_url}
    if base_url is not None and backend is None:
        given["backend"] = "server"
    return http_client(**{name: value for name, value in given.items() if value is not None}, notice=notice)


def local_model_name(model: str | None) -> str:
    """Return the model that a local answer uses: the one named, else the configured one, else the default.

    Raises:
        SettingsError: A setting cannot be used.
    """
    from deepseek_apps.catalog import catalogue  # noqa: PLC0415  lazy, as above
    from deepseek_apps.settings import load_settings  # noqa: PLC0415

    facts = catalogue()
    named = model or load_settings().model
    return facts.default_local_model if named is None or facts.is_hosted_name(named) else named


def engine_config(
    *,
    quantization: QuantizationName | None = None,
    cache_dtype: CacheDtypeName | None = None,
    prefix_cache_gb: float | None = None,
    speculation: SpeculationName | None = None,
) -> EngineConfig:
    """Return how the embedded engine runs models; what is not given comes from the settings.

    Raises:
        SettingsError: A setting cannot be used.
    """
    from deepseek_apps.settings import load_settings  # noqa: PLC0415  lazy, as above
    from local_backend.config import EngineConfig  # noqa: PLC0415  an optional package

    settings = load_settings(
        quantization=quantization,
        cache_dtype=cache_dtype,
        prefix_cache_gb=prefix_cache_gb,
        speculation=speculation,
    )
    return EngineConfig(
        quantization=settings.quantization,
        cache_dtype=settings.cache_dtype,
        prefix_cache_bytes=settings.prefix_cache_bytes,
        speculation=settings.speculation,
    )


def system_messages(system: str | None) -> list[dict[str, Any]]:
    """Return the messages that open a conversation: the system prompt, if there is one."""
    return [{"role": "system", "content": check_text(system, "--system")}] if system else []


def hosted_models() -> dict[str, str]:
    """Return the hosted models' names and what each is."""
    from deepseek_apps.catalog import catalogue  # noqa: PLC0415  lazy: only the shell asks for this

    return {name: f"hosted, {row.checkpoint}" for name, row in catalogue().models.items()}


def answer_notes(answer: Answer, *, usage: bool) -> list[str]:
    """Return the remarks that follow an answer on stderr: why it is cut, and its usage if asked for."""
    notes = []
    if answer.finish_reason == "length":
        notes.append("the answer was cut at its longest allowed length; raise --max-tokens for more")
    if answer.finish_reason == "content_filter":
        notes.append("the backend's content filter stopped the answer")
    who, after, failed = answer.route.partition(" after ")
    if after:
        notes.append(f"{who} answered, after {failed}")
    if usage:
        notes.append(_usage(answer))
    return notes


def answer_cost(answer: Answer) -> Cost | None:
    """Return what an answer cost just now, in the configured currency; None where that is not known."""
    from datetime import UTC, datetime  # noqa: PLC0415  lazy, as above

    from deepseek_apps.cost import cost_of  # noqa: PLC0415
    from deepseek_apps.settings import load_settings  # noqa: PLC0415

    if not answer.usage:
        return None
    settings = load_settings()
    server = settings.servers.get(answer.route.partition(" ")[0].removeprefix("server:"))
    return cost_of(
        answer.usage,
        model=answer.model,
        at=datetime.now(UTC),
        currency=settings.currency,
        backend=answer.backend or None,
        price=server.price if server else None,
    )


def _usage(answer: Answer) -> str:
    from deepseek_apps.answer import Usage  # noqa: PLC0415

    counts = Usage.from_wire(answer.usage)
    parts = [
        f"{answer.backend} {answer.model}",
        f"{counts.prompt_tokens} prompt tokens ({counts.prompt_cache_hit_tokens} cached)"
        f" + {counts.completion_tokens} answer tokens"
        if answer.usage
        else "usage not reported",
    ]
    if (cost := answer_cost(answer)) is not None:
        from deepseek_apps.cli.cost_view import amount  # noqa: PLC0415

        parts.append("free" if cost.total == 0 else amount(cost.total, cost.currency))
    if answer.first_token_seconds is not None:
        parts.append(f"first token {answer.first_token_seconds:.2f} s")
    if (speed := answer.tokens_per_second) is not None:
        parts.append(f"{speed:.1f} tokens/s")
    return "usage: " + " · ".join((*parts, f"{answer.seconds:.2f} s in all"))
