"""A sandbox where this host can run one; elsewhere these tests are skipped, with the reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from recipes.code_agent.confinement.limits import SandboxLimits
from recipes.code_agent.errors import SandboxUnavailableError
from recipes.code_agent.sandbox import Sandbox

SMALL = SandboxLimits(
    wall_seconds=20.0,
    cpu_seconds=5,
    memory_bytes=256 << 20,
    processes=40,
    file_bytes=64 << 20,
    disk_bytes=128 << 20,
    output_bytes=20_000,
    flood_bytes=4 << 20,
)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox(SMALL) as made:
            yield made
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
