"""EngineConfig refuses what cannot work, by name."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from local_backend.config import EngineConfig
from local_backend.errors import ConfigError


@pytest.mark.parametrize(
    "name",
    ["max_model_len", "max_kv_bytes", "max_num_seqs", "max_num_batched_tokens", "block_size", "num_threads"],
)
@pytest.mark.parametrize("value", [0, -1])
def test_limits_are_at_least_one(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"{name}={value}") as caught:
        EngineConfig(**{name: value})
    assert name in caught.value.help_message


def test_the_disk_for_prefixes_may_be_none_but_not_negative() -> None:
    assert EngineConfig(prefix_cache_bytes=0).prefix_cache_bytes == 0
    with pytest.raises(ConfigError, match="prefix_cache_bytes=-1 must not be negative"):
        EngineConfig(prefix_cache_bytes=-1)


def test_every_running_request_needs_a_token_per_step() -> None:
    with pytest.raises(ConfigError, match="max_num_batched_tokens=3 is less than max_num_seqs=4"):
        EngineConfig(max_num_batched_tokens=3, max_num_seqs=4)


@pytest.mark.parametrize(("name", "value"), [("kernels", "fastest"), ("quantization", "int3")])
def test_choices_are_checked(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}='{value}'"):
        EngineConfig(**{name: value})


def test_it_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        EngineConfig().block_size = 3  # type: ignore[misc]
