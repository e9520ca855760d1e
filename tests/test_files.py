import errno
import os

import pytest

from workbench.errors import DataError, DtypeError
from workbench.files import atomic_write


def leftovers(folder):
    return [each.name for each in folder.iterdir() if each.name.endswith(".tmp")]


def refuse(code):
    def replace(source, target):
        raise OSError(code, os.strerror(code))

    return replace


def test_text_is_stored_as_utf8_with_its_own_line_ends(tmp_path):
    path = atomic_write(tmp_path / "note.txt", "Größe\r\nzwei\n")
    assert path == tmp_path / "note.txt"
    assert path.read_bytes() == "Größe\r\nzwei\n".encode()


def test_bytes_replace_what_was_there(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(b"a much longer earlier content")
    atomic_write(str(path), b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert os.listdir(tmp_path) == ["data.bin"]


def test_missing_folders_are_made(tmp_path):
    atomic_write(tmp_path / "a" / "b" / "c.txt", "x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    ours = atomic_write(tmp_path / "ours", b"")
    assert ours.stat().st_mode == plain.stat().st_mode


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_stays_a_link(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    atomic_write(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"


@pytest.mark.parametrize("stage", ["write", "fsync", "replace"])
def test_ctrl_c_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, stage):
    path = tmp_path / "kept.txt"
    path.write_text("old")

    def interrupt(*_):
        raise KeyboardInterrupt

    if stage == "write":
        monkeypatch.setattr("workbench.files.open", interrupt, raising=False)
    else:
        monkeypatch.setattr(os, stage, interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["kept.txt"]


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some space there, or use a stick"),
        (errno.EACCES, "you may not write there: use a stick"),
        (errno.EROFS, "that disk is read-only: use a stick"),
        (errno.EIO, "check that folder, or use a stick"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(tmp_path, monkeypatch, code, advice):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", refuse(code))
    with pytest.raises(DataError) as caught:
        atomic_write(path, "new", where="compare", instead="use a stick")
    assert str(caught.value) == (
        f"compare: cannot write {path}: {os.strerror(code)}\n  fix:      {advice}"
    )
    assert isinstance(caught.value.__cause__, OSError)
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_a_full_disk_while_the_data_are_written(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        atomic_write(tmp_path / "new.txt", "x")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        atomic_write(pipe, "through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError) as caught:
        atomic_write(tmp_path / "file" / "x.txt", "x")
    assert caught.value.fix == (
        "a part of that path is a file, not a folder: choose another folder"
    )


def test_a_folder_where_the_file_should_be(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(DataError, match="cannot write"):
        atomic_write(tmp_path / "taken", "x")
    assert os.listdir(tmp_path) == ["taken"]


def test_anything_but_text_or_bytes_is_refused_before_the_disk_is_touched(tmp_path):
    with pytest.raises(DtypeError) as caught:
        atomic_write(tmp_path / "a" / "x.txt", ["x"], where="report")
    assert str(caught.value) == (
        "report: only text or bytes can be written to a file\n"
        "  given:    list\n"
        "  expected: str or bytes"
    )
    assert os.listdir(tmp_path) == []


def test_text_that_is_not_unicode_leaves_the_disk_alone(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        atomic_write(tmp_path / "x.txt", "\ud800")
    assert os.listdir(tmp_path) == []
