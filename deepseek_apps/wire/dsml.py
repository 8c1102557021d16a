"""Finds tool markup in a stream of text and takes it out as calls; everything else passes as it is.

What comes out depends on the text only, never on where it was cut. Text is held back only while it may be the
start of markup, and then no longer than it takes to tell; markup that cannot be read comes out as the text it
was.
"""

from __future__ import annotations

from deepseek_apps.wire.dsml_blocks import (
    CLOSE,
    LONGEST_TAG,
    START,
    FoundCall,
    calls_in,
    may_become_start,
    self_closed_end,
    spoken_after,
)

__all__ = ["FoundCall", "MarkupReader"]

# Models put up to two line breaks before a block; they belong to the markup.
_BREAKS = 2


class MarkupReader:
    """Reads one reply's content, piece by piece."""

    def __init__(self) -> None:
        self._held = ""
        self._kind: str | None = None  # the group of START that opened the block we are in
        self._searched = 0
        self._found_any = False
        self._after_block = False

    def push(self, text: str) -> tuple[str, list[FoundCall]]:
        """Return the text that may pass now, and the calls of the blocks that this piece completed."""
        if not (self._held or self._after_block) and "<" not in text and not text.endswith("\n"):
            return text, []
        self._held += text
        return self._drain()

    def finish(self, *, cut: bool) -> tuple[str, list[FoundCall]]:
        """Return what is left at the end of the reply.

        Args:
            cut: Whether the reply ended at max_tokens, so that an open block is half of one.
        """
        said, calls = "", list[FoundCall]()
        if self._kind is not None:
            said, calls = self._close(spoken_after(self._held), cut=cut)
        rest, self._held = self._held, ""
        if self._after_block and rest.isspace():
            rest = ""
        return said + rest, calls

    def _drain(self) -> tuple[str, list[FoundCall]]:
        said: list[str] = []
        calls: list[FoundCall] = []
        while True:
            if self._kind is None:
                said.append(self._pass_text())
                if self._kind is None:
                    return "".join(said), calls
            end = self._block_end()
            if end is None:
                return "".join(said), calls
            text, found = self._close(end, cut=False)
            said.append(text)
            calls += found

    def _pass_text(self) -> str:
        """Take the text before the next block out of the buffer; enter that block if it is there."""
        held = self._held
        if self._after_block and (not held or held.isspace()):  # at the end it belongs to the markup
            return ""
        place = held.find("<")
        while place >= 0:
            start = START.match(held, place)
            if start and start.lastgroup == "stray":
                if self._found_any:
                    held = held[:place] + held[start.end() :]
                    place = held.find("<", place)
                    continue
            elif start:
                self._kind = start.lastgroup
                return self._release(held, _before_breaks(held, place))
            elif may_become_start(held[place:]):
                return self._release(held, _before_breaks(held, place))
            place = held.find("<", place + 1)
        return self._release(held, _before_breaks(held, len(held)))

    def _release(self, held: str, upto: int) -> str:
        self._held = held[upto:]
        self._searched = 0
        self._after_block = self._after_block and upto == 0
        return held[:upto]

    def _block_end(self) -> int | None:
        assert self._kind is not None
        if self._kind == "invoke" and (end := self_closed_end(self._held)):
            return end
        close = CLOSE[self._kind].search(self._held, max(0, self._searched - LONGEST_TAG))
        self._searched = len(self._held)
        return close.end() if close else None

    def _close(self, end: int, *, cut: bool) -> tuple[str, list[FoundCall]]:
        """Leave the block: its calls, or its text where it says none."""
        block, self._held = self._held[:end], self._held[end:]
        self._kind, self._searched = None, 0
        calls = calls_in(block.lstrip("\n"), cut=cut)
        if calls is None:
            self._after_block = False
            return block, []
        self._found_any = self._after_block = True
        return "", calls


def _before_breaks(text: str, place: int) -> int:
    """Return where the line breaks begin that end at `place`."""
    begin = place
    while begin > 0 and place - begin < _BREAKS and text[begin - 1] == "\n":
        begin -= 1
    return begin
