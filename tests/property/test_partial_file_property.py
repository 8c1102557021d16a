"""However often and wherever a pull is cut, the next one goes on from true bytes and ends with the file."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from local_backend.store.partial import PartialFile, resumable_bytes

DATA = random.Random(3).randbytes(5000)
SHA256 = hashlib.sha256(DATA).hexdigest()

CUTS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 900), max_size=6),  # sizes of the writes before the cut
        st.sampled_from(["kill", "stop", "power", "journal"]),
        st.integers(0, 60),
    ),
    max_size=5,
)


def cut(target: Path, writes: list[int], how: str, amount: int) -> int:
    """Write some more, then end as `how` says; return how many bytes were written in all."""
    snapshot = target.parent.with_name("snapshot")
    with PartialFile(target, size=len(DATA), sha256=SHA256, checkpoint_bytes=700) as partial:
        partial.resume(lambda done: None)
        for count in writes:
            partial.write(DATA[partial.offset : partial.offset + count])
        written = partial.offset
        if how != "stop":  # what another process would see after kill -9: nothing of __exit__ happened
            shutil.copytree(target.parent, snapshot)
    if how != "stop":
        shutil.rmtree(target.parent)
        snapshot.rename(target.parent)
    part, journal = (target.with_name(target.name + suffix) for suffix in (".part", ".part.json"))
    if how == "power":  # bytes after the last checkpoint may be anything
        part.write_bytes(part.read_bytes()[: resumable_bytes(target, sha256=SHA256)] + bytes(amount))
    if how == "journal" and journal.exists():
        journal.write_text(journal.read_text()[:amount])
    return written


@given(CUTS)
def test_any_cut_can_be_resumed(cuts: list[tuple[list[int], str, int]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        target = Path(root) / "model" / "m.gguf"
        target.parent.mkdir()
        for writes, how, amount in cuts:
            written = cut(target, writes, how, amount)
            kept = resumable_bytes(target, sha256=SHA256)
            assert kept <= written
            assert written - kept < 700 or how == "journal"
            assert kept == written or how != "stop"
            assert not target.exists()
        with PartialFile(target, size=len(DATA), sha256=SHA256) as partial:
            partial.resume(lambda done: None)
            partial.write(DATA[partial.offset :])
            partial.commit()
        assert target.read_bytes() == DATA
        assert not list(target.parent.glob("*.part*"))


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_journal_is_read_as_a_valid_offset(journal: object) -> None:
    with tempfile.TemporaryDirectory() as root:
        target = Path(root) / "m.gguf"
        Path(root, "m.gguf.part").write_bytes(DATA)
        for value in (journal, {"sha256": SHA256, "offset": journal}):
            Path(root, "m.gguf.part.json").write_text(json.dumps(value))
            assert 0 <= resumable_bytes(target, sha256=SHA256) <= len(DATA)
