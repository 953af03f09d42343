"""An index on a network file system: what is said of it, and that a question writes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import picture
from tiny import open_tiny

from clipsearch.photos.files import mounts

SAID = "is on a network file system (nfs4)"


@pytest.fixture
def on_nfs(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of an index, which the table of mounts says to be on another machine."""
    table = tmp_path / "mounts"
    table.write_text(f"/dev/sda1 / ext4 rw 0 0\nnas:/x {index} nfs4 rw 0 0\n")
    monkeypatch.setattr(mounts, "_MOUNTS", table)
    return index


def held(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = {str(it.relative_to(folder)): it for it in (folder, *folder.rglob("*"))}
    return {
        name: (it.stat().st_mtime_ns, it.read_bytes() if it.is_file() else b"")
        for name, it in files.items()
    }


def test_it_is_said_when_it_is_made_and_when_it_is_opened_for_writing(
    on_nfs: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_tiny(on_nfs) as library:
        assert SAID in caplog.text
        assert "clipsearch copy FOLDER" in caplog.text
        library.index([photos])
    for write in ("index", "forget"):
        caplog.clear()
        picture(99).save(photos / "new.jpg")
        with open_tiny(on_nfs) as library:
            assert SAID not in caplog.text
            if write == "index":
                assert library.index().added == 1
            else:
                assert library.forget(photos / "new.jpg") == 1
            assert caplog.text.count(SAID) == 1
            assert len(library.query("a boat", 100)) == (13 if write == "index" else 12)


def test_a_question_writes_nothing_there(
    indexed: Path, on_nfs: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(on_nfs / "vectors")  # which a question writes again elsewhere
    before = held(on_nfs)
    with open_tiny(on_nfs, create=False) as library, open_tiny(on_nfs) as other:
        for asked in (library, other):
            assert len(asked.query("a boat that nobody asked for before", 100)) == 12
            asked.label(photos / "00.jpg", ["a boat"])
            asked.duplicates()
            asked.status()
            assert held(on_nfs) == before
    assert held(on_nfs) == before
    assert caplog.text == ""


def test_an_index_on_a_disk_of_this_machine_is_no_matter(
    index: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_tiny(index) as library:
        library.index([photos])
    assert caplog.text == ""
