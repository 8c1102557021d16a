"""Fixtures that several packages' tests share: the real tokenizer of the small starter model."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_backend.errors import LocalBackendError


def pytest_configure() -> None:
    """Take Ctrl-C as usual: a background job of a shell ignores it, and so would the processes under test."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def private_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the calls that tests make out of the developer's ledger and history."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPSEEK_APPS_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_prefixes_on_disk() -> Iterator[None]:
    """Let no answer depend on what an earlier run left on disk; tests of that say how much they may take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPSEEK_APPS_PREFIX_CACHE_GB", "0")
        yield


@pytest.fixture(scope="session")
def starter_small_gguf() -> Path:
    """The small starter model's file; `make test` pulls it before it runs the tests."""
    from local_backend.store.catalog import resolve_model

    try:
        return resolve_model("starter-small")
    except LocalBackendError as error:
        pytest.fail(
            f"{error}\nThese tests need the small starter model (0.5 GB): run `make test`, which pulls it, "
            "or `deepseek-apps models pull starter-small`.",
            pytrace=False,
        )


@pytest.fixture(scope="session")
def starter_small_metadata(starter_small_gguf: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Its GGUF metadata; reading it takes seconds, so it is kept between test runs."""
    from local_backend.store.gguf_header import read_gguf_metadata

    status = starter_small_gguf.stat()
    folder = request.config.cache.mkdir("gguf-metadata") if request.config.cache else None
    kept = folder / f"{status.st_size}-{status.st_mtime_ns}.json" if folder else None
    if kept and kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    metadata = read_gguf_metadata(starter_small_gguf)
    if kept:
        partial = kept.with_suffix(".tmp")
        partial.write_text(json.dumps(metadata, ensure_ascii=False), encoding="utf-8")
        partial.replace(kept)
    return metadata


@pytest.fixture(scope="session")
def starter_small_assets(starter_small_metadata: dict[str, Any]):
    """Its text assets."""
    from local_backend.families.text_assets import TextAssets

    return TextAssets.from_gguf_metadata(starter_small_metadata)


@pytest.fixture(scope="session")
def starter_small_tokenizer(starter_small_assets):
    """Its tokenizer."""
    from local_backend.families.tokenizer import Tokenizer

    return Tokenizer.from_assets(starter_small_assets)
