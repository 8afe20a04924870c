"""Files are written whole or not at all, and claimed folders are released."""

import errno
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from dp_base.files import (
    PART,
    as_input_error,
    atomic_file,
    atomic_folder,
    discard_parts,
    disk_problem,
    file_name,
    filled,
    remove,
    unused,
    write_json,
)
from dp_base.locks import claimed
from tests.refusals import refusal


def names(folder):
    return sorted(os.listdir(folder))


def test_what_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    for writing in (atomic_file(path), atomic_folder(tmp_path / "folder")):
        with pytest.raises(OSError, match="part"), writing as partial:
            (partial / "absent" / "part").write_text("ne")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


def test_a_file_being_written_has_a_random_name_and_follows_no_link(tmp_path, patch):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    patch("dp_base.files.secrets.token_hex", lambda count: "0" * 2 * count)  # as if it were foreseen
    with atomic_file(tmp_path / "a.csv") as partial:
        foreseen = partial
    foreseen.symlink_to(precious)
    with pytest.raises(FileExistsError), atomic_file(tmp_path / "a.csv") as partial:
        partial.write_text("overwritten")
    assert precious.read_text() == "kept"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_have_the_mode_that_the_umask_says(tmp_path, umask, mode):
    """Those of safetensors as well, which makes them readable to their owner alone."""
    (tmp_path / "filled").mkdir()
    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", {})
        for writing in (atomic_folder(tmp_path / "run"), filled(tmp_path / "filled")):
            with writing as staged:
                save_file({"w": np.zeros(2)}, staged / "model.safetensors")
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name: path.stat().st_mode & 0o777 for path in files} == {"a.json": mode, "model.safetensors": mode}
    assert len(files) == 3


def test_a_folder_is_replaced_only_if_asked(tmp_path, monkeypatch):
    folder = tmp_path / "folder"

    def write(name, replace):
        with atomic_folder(folder, replace=replace) as staged:
            (staged / name).touch()

    write("a", replace=False)
    with pytest.raises(OSError, match="not empty"):
        write("b", replace=False)
    assert names(folder) == ["a"]
    write("b", replace=True)
    assert names(folder) == ["b"]

    def rename_interrupted(source, target, rename=os.rename):
        rename(source, target)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr("os.rename", rename_interrupted)
    with pytest.raises(KeyboardInterrupt):
        write("c", replace=True)
    assert names(folder) == ["b"]
    assert names(tmp_path) == ["folder"]


# In a container, the next process has the same number.
@pytest.mark.parametrize("process", [2**22 + 1, os.getpid()], ids=["gone", "this one's"])
def test_a_folder_whose_replacement_was_killed_is_put_back(tmp_path, process):
    """A process is killed between the two renames, when neither folder is in place."""
    died = tmp_path / f"{PART}{process}-best-abcd1234"
    (died / "former").mkdir(parents=True)
    (died / "former" / "weights").write_text("good")
    discard_parts(tmp_path)
    assert names(tmp_path) == ["best"]
    assert (tmp_path / "best" / "weights").read_text() == "good"


def test_an_empty_folder_is_taken_over_and_a_link_to_it_stays_one(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    with atomic_folder(tmp_path / "link") as staged:
        (staged / "a").touch()
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "far") == ["a"]


def test_any_text_is_the_name_of_one_file(tmp_path):
    long = [f"practice@{'training.steps=9@' * 20}{end}/é" for end in (1, 2)]
    names = [file_name(text) for text in ("a/b", *long, long[0] + "é" * 300)]
    assert names[0] == "a%2Fb"
    assert len(set(names)) == 4
    for name in names:
        with atomic_file(tmp_path / f"{name}-seed1000") as part:
            part.touch()


def test_removing(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    os.symlink(tmp_path / "kept", tmp_path / "link")
    for name in ("a", "link", "absent"):
        remove(tmp_path / name)
    assert names(tmp_path) == ["kept"]


def test_what_the_file_system_keeps_for_a_reader_ends_no_run(tmp_path, monkeypatch):
    """NFS renames a file that is memory-mapped within its folder, so the folder is not empty."""
    (tmp_path / "drawing").mkdir()

    def kept(*_, **__):
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    with monkeypatch.context() as nfs:
        nfs.setattr(os, "rmdir", kept)
        remove(tmp_path / "drawing")
    assert not (tmp_path / "drawing").exists()
    assert all(name.startswith(PART) for name in names(tmp_path))


def test_what_killed_processes_leave_is_in_nobodys_way(tmp_path):
    assert unused(tmp_path / "absent")
    (tmp_path / f"{PART}123-pool").mkdir()
    assert unused(tmp_path)
    (tmp_path / "config.toml").touch()
    assert not unused(tmp_path)
    assert not unused(tmp_path / "config.toml")


def test_a_claimed_folder_that_stays_empty_is_given_back(tmp_path):
    with claimed(tmp_path / "out"):
        assert (tmp_path / "out").is_dir()
    assert names(tmp_path) == []
    with claimed(tmp_path / "out"):
        (tmp_path / "out" / "a").touch()
    with refusal("not empty"), claimed(tmp_path / "out"):
        pass
    with claimed(tmp_path / "out", journal="a", resume=True):
        pass
    with pytest.raises(KeyboardInterrupt, match="--resume"), claimed(tmp_path / "out", journal="a", resume=True):
        raise KeyboardInterrupt


def test_a_full_disk_is_told_with_the_file(tmp_path):
    """A write to an open file does not say which."""
    full = OSError(errno.ENOSPC, "No space left on device")
    for writing in (atomic_file, atomic_folder):
        with pytest.raises(OSError, match="No space") as raised, writing(tmp_path / "table.csv"):
            raise full
        assert disk_problem(raised.value) == f"{tmp_path / 'table.csv'}: No space left on device"
        full.filename = None


def test_an_error_without_a_number_keeps_its_reason(tmp_path):
    """As those of Arrow and of Pillow."""
    with (
        refusal(r"table\.parquet cannot be written: no room for the footer"),
        as_input_error(tmp_path / "table.parquet"),
    ):
        raise OSError("no room for the footer")
