"""Whether a stream is seen as finished depends on its bytes, not on where they were cut."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_apps.backends.guard import _CheckedStream

EVENTS = st.lists(
    st.sampled_from([b"data: {}\n\n", b": keep-alive\n\n", "data: 你好\n\n".encode()]), max_size=4
)


class Chunks(httpx2.SyncByteStream):
    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data = data
        self._sizes = sizes

    def __iter__(self) -> Iterator[bytes]:
        rest = self._data
        for size in self._sizes:
            yield rest[:size]
            rest = rest[size:]
        yield rest


@given(EVENTS, st.lists(st.integers(1, 9), max_size=30), st.booleans())
def test_a_stream_is_finished_exactly_when_it_says_done(
    events: list[bytes], sizes: list[int], done: bool
) -> None:
    data = b"".join(events) + (b"data: [DONE]\n\n" if done else b"data: [DON")
    stream = _CheckedStream(Chunks(data, sizes))
    if done:
        assert b"".join(stream) == data
    else:
        with pytest.raises(httpx2.RemoteProtocolError, match="DONE"):
            list(stream)
