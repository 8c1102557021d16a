"""Make up a llama.cpp cache of any depth: the rows of a short one, repeated.

`llama_state_seq_get_data` gives what a sequence has in the cache and `llama_state_seq_set_data` puts it back
(llama-kv-cache.cpp, `state_write`). Repeating its rows under new positions takes seconds where computing a
prompt of 32K tokens takes over an hour, and costs every later token just as much time.

    magic, sequence (4 bytes each), streams, cells
    per cell: position, number of sequences (1), sequence
    values transposed, layers
    per layer: type (4), bytes of a row (8), the cells' key rows
    per layer with values: type, bytes of a row, rows; or transposed: type, bytes of a number (4 each),
        numbers of a cell, and for each of them all cells' numbers

Knows nothing of engines; standard library and NumPy only.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

HEADER = struct.Struct("<IiII")
CELL = np.dtype([("position", "<i4"), ("sequences", "<u4"), ("sequence", "<i4")])
Bytes = npt.NDArray[np.uint8]


class UnknownStateError(ValueError):
    """The state is not laid out as this version of llama.cpp lays it out.

    Raised instead of restoring rows at the wrong places; use the pinned llama-cpp-python.
    """


def deepen_state(state: bytes, depth: int) -> bytearray:
    """Return the state of a sequence of `depth` positions whose rows are those of a shorter one, in turn.

    Args:
        state: What `llama_state_seq_get_data` gave; one stream, positions from 0 without gaps.
        depth: Positions wanted.

    Raises:
        UnknownStateError: The layout is not the known one.
    """
    reader = _Reader(np.frombuffer(state, np.uint8))
    magic, sequence, streams, cells = HEADER.unpack(reader.take(HEADER.size).tobytes())
    found = reader.take(cells * CELL.itemsize).view(CELL)
    in_order = (found["position"] == np.arange(cells)).all() and (found["sequences"] == 1).all()
    if streams != 1 or not cells or not in_order:
        raise UnknownStateError(f"a llama.cpp state of {streams} streams and {cells} cells is not understood")
    rows = np.arange(depth) % cells
    new = np.zeros(depth, CELL)
    new["position"], new["sequences"], new["sequence"] = np.arange(depth), 1, found["sequence"][0]
    deep = bytearray(HEADER.pack(magic, sequence, streams, depth) + new.tobytes())
    transposed, layers = reader.numbers("<II", deep)
    if transposed > 1 or not 0 < layers < 1000:
        raise UnknownStateError(f"a llama.cpp state of {layers} layers is not understood")
    for _ in range(layers):
        _, row_bytes = reader.numbers("<iQ", deep)
        deep += reader.take(cells * row_bytes).reshape(cells, row_bytes).take(rows, axis=0).data
    while not reader.ended:
        if transposed:
            _, number_bytes, count = reader.numbers("<iII", deep)
            numbers = reader.take(cells * number_bytes * count).reshape(count, cells, number_bytes)
            deep += numbers.take(rows, axis=1).data
        else:
            _, row_bytes = reader.numbers("<iQ", deep)
            deep += reader.take(cells * row_bytes).reshape(cells, row_bytes).take(rows, axis=0).data
    return deep


class _Reader:
    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def ended(self) -> bool:
        return self._at == len(self._data)

    def take(self, count: int) -> Bytes:
        if self._at + count > len(self._data):
            raise UnknownStateError(f"a llama.cpp state ends after {len(self._data)} bytes, amid its rows")
        self._at += count
        return self._data[self._at - count : self._at]

    def numbers(self, layout: str, kept: bytearray) -> tuple[int, ...]:
        data = self.take(struct.calcsize(layout)).tobytes()
        kept += data
        return struct.unpack(layout, data)
