"""From two file names to a finished batch: the library's front door, and what must be right at its start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx2

from deepseek_apps._error_mapping import map_error
from deepseek_apps.backend_client import AsyncBackendClient, async_http_client
from deepseek_apps.batch.errors import BatchInputError
from deepseek_apps.batch.options import BatchOptions
from deepseek_apps.batch.progress import BatchProgress
from deepseek_apps.batch.results import BatchResults
from deepseek_apps.batch.run import BatchRun, OnProgress
from deepseek_apps.batch.source import BatchSource, read_source
from deepseek_apps.errors import SettingsError

__all__ = ["check_models", "run_batch", "run_source"]


async def run_batch(
    source: str | Path,
    target: str | Path,
    *,
    client: AsyncBackendClient | None = None,
    options: BatchOptions | None = None,
    errors: str | Path | None = None,
    on_progress: OnProgress = lambda _: None,
) -> BatchProgress:
    """Answer every request of a file; run again, it goes on where it stopped and pays for nothing twice.

    Args:
        source: Requests in OpenAI's batch format, one a line.
        target: Where the results go: appended as they come, in the input's order once all are there. A small
            file beside it, named `TARGET.batch.json`, says which input it answers.
        client: Who answers, see `deepseek_apps.async_http_client`; None takes the settings' choice.
        options: How to go about it.
        errors: File for the results that are no answers; they are in `target` all the same.
        on_progress: Told after each change.

    Returns:
        How it ended. Requests that were refused, or failed again and again, are counted in `failed`; the
        latter are sent again by the next run.

    Raises:
        BatchInputError: Lines of the input cannot be sent, or the output belongs to another input.
        BatchOutputError: The output is in use by another process, or cannot be written.
        DeepSeekAppsError: The batch stopped; see `BatchRun.run`. What is done is in `target`.
    """
    checked = read_source(Path(source))
    own = async_http_client() if client is None else client
    try:
        return await run_source(
            checked,
            Path(target),
            client=own,
            options=options,
            errors=None if errors is None else Path(errors),
            on_progress=on_progress,
        )
    finally:
        if client is None:
            await own.aclose()


async def run_source(
    source: BatchSource,
    target: Path,
    *,
    client: AsyncBackendClient,
    options: BatchOptions | None = None,
    errors: Path | None = None,
    on_progress: OnProgress = lambda _: None,
    on_start: Callable[[BatchRun], None] = lambda _: None,
) -> BatchProgress:
    """Run a batch whose input has been checked; otherwise as `run_batch`.

    Args:
        on_start: Given the run before it starts, so that it can be stopped.
    """
    check_models(source, client)
    with BatchResults(target, source) as results:
        if "" in source.models:
            await _ask_for_the_default_model(client)
        run = BatchRun(client, source, results, options, on_progress=on_progress)
        on_start(run)
        try:
            return await run.run()
        finally:
            results.finish(errors)


def check_models(source: BatchSource, client: AsyncBackendClient) -> None:
    """Refuse names that must not be sent, before anything is.

    Raises:
        BatchInputError: A body names a model that the backend must not be asked for.
    """
    for model, count in source.models.items():
        try:
            client.backend.model_name(model)
        except SettingsError as error:
            raise BatchInputError(
                f"{source.path}: {count} requests name a model that cannot be asked for: {error}",
                help_message=error.help_message,
            ) from error


async def _ask_for_the_default_model(client: AsyncBackendClient) -> None:
    """Find out what to ask for where a body names no model; a server is asked what it serves."""
    if client.backend.default_model is not None:
        return
    try:
        response = await client.get("models")
        served = [row["id"] for row in response.raise_for_status().json()["data"]]
    except httpx2.HTTPError as error:
        raise map_error(error) from error
    except (ValueError, KeyError, TypeError):
        served = []
    if not served:
        raise BatchInputError(
            f"some requests name no model, and {client.backend.base_url} does not say what it serves",
            help_message="Name the model in the requests, or with --model.",
        )
    client.backend = replace(client.backend, default_model=served[0])
