"""Token counts under every server's names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_apps.usage import usage_metadata


def test_deepseeks_form_counts_hits_once() -> None:
    usage = {
        "prompt_tokens": 212,
        "completion_tokens": 40,
        "total_tokens": 252,
        "prompt_tokens_details": {"cached_tokens": 128},
        "completion_tokens_details": {"reasoning_tokens": 25},
        "prompt_cache_hit_tokens": 128,
        "prompt_cache_miss_tokens": 84,
    }
    assert usage_metadata(usage) == {
        "input_tokens": 212,
        "output_tokens": 40,
        "total_tokens": 252,
        "input_token_details": {"cache_read": 128},
        "output_token_details": {"reasoning": 25},
    }


@pytest.mark.parametrize(
    ("usage", "key", "value"),
    [
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}}, "cache_read", 3),
        ({"prompt_tokens": 5, "prompt_cache_hit_tokens": 0}, "cache_read", 0),
        ({"prompt_tokens": 5, "prompt_tokens_details": None}, "cache_read", None),
        ({"prompt_cache_hit_tokens": 3, "prompt_cache_miss_tokens": 2}, "cache_read", 3),
    ],
)
def test_cache_hits_of_other_servers(usage, key, value) -> None:
    counts = usage_metadata(usage)
    assert counts["input_tokens"] == 5
    assert counts["input_token_details"].get(key) == value


_COUNT = st.none() | st.integers(-5, 50) | st.floats(0, 9) | st.sampled_from(["7", True, {}])
_DETAILS = st.none() | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("cached_tokens", "reasoning_tokens"), _COUNT)
)
_NAMES = ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_cache_hit_tokens", "reasoning_tokens"]
_USAGE = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(_NAMES, _COUNT)
    | dict.fromkeys(("prompt_tokens_details", "completion_tokens_details"), _DETAILS),
)


@given(_USAGE)
def test_details_never_exceed_their_totals(usage) -> None:
    counts = usage_metadata(usage)
    assert 0 <= counts["input_token_details"].get("cache_read", 0) <= counts["input_tokens"]
    assert 0 <= counts["output_token_details"].get("reasoning", 0) <= counts["output_tokens"]
