"""Closing a body from another thread, dropping it, and failing before its first byte."""

from __future__ import annotations

import threading

import pytest

from local_backend.server.messages import BrokenAnswerError, ByteStream, Response


def test_reads_non_empty_chunks_to_the_end():
    assert list(ByteStream([b"a", b"", b"b"])) == [b"a", b"b"]


def test_close_ends_a_blocked_reader():
    released = threading.Event()

    def source():
        yield b"a"
        released.wait(5)
        yield b"never seen"

    stream, seen = ByteStream(source(), released.set), []
    reader = threading.Thread(target=lambda: seen.extend(stream))
    reader.start()
    while not seen:
        pass
    stream.close()
    reader.join(5)
    assert seen == [b"a"]


def test_close_is_called_once_and_drops_what_was_peeked():
    calls = []
    stream = ByteStream([b"a"], lambda: calls.append(1))
    stream.peek()
    stream.close()
    stream.close()
    assert (list(stream), calls) == ([], [1])


def test_a_dropped_stream_closes_itself():
    closed = threading.Event()
    stream = ByteStream([b"a"], closed.set)
    del stream
    assert closed.is_set()


def test_an_error_closes_the_stream_and_is_passed_on():
    def source():
        yield b"a"
        raise OSError("torn")

    closed = threading.Event()
    stream = ByteStream(source(), closed.set)
    with pytest.raises(OSError, match="torn"):
        list(stream)
    assert closed.is_set()


def _broken():
    raise BrokenAnswerError(Response.of(503, b"busy"), [b"in ", b"band"])
    yield b""


def test_settled_gives_the_status_of_a_failure():
    settled = Response(status=200, headers={}, body=ByteStream(_broken())).settled()
    assert (settled.status, b"".join(settled.body)) == (503, b"busy")


def test_unsettled_body_says_it_in_band():
    assert b"".join(ByteStream(_broken())) == b"in band"


def test_settled_keeps_the_first_bytes():
    response = Response(status=200, headers={}, body=ByteStream([b"a", b"b"])).settled()
    assert list(response.settled().body) == [b"a", b"b"]
