import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ragsaver.errors import IndexLocked, StorageError
from ragsaver.index import ownership
from ragsaver.index.ownership import OWNER_FILE, Owner, Ownership, current_owner

HOLD = """
import sys
from pathlib import Path
from ragsaver.index.ownership import Ownership
owner = Ownership.acquire(Path(sys.argv[1]), "ragsaver serve")
owner.publish("http://127.0.0.1:1", "secret")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_second_process_learns_who_holds_the_index(holder: subprocess.Popen, tmp_path: Path) -> None:
    owner = current_owner(tmp_path)
    assert owner == Owner(holder.pid, "ragsaver serve", "http://127.0.0.1:1", "secret")
    with pytest.raises(IndexLocked, match=rf"`ragsaver serve` \(process {holder.pid}\).*stop it"):
        Ownership.acquire(tmp_path, "ragsaver ingest")


def test_a_server_that_is_starting_is_waited_for_until_it_tells_its_address(tmp_path: Path, monkeypatch) -> None:
    owners = iter([Owner(1, "ragsaver serve"), Owner(1, "ragsaver serve"), Owner(1, "ragsaver serve", "http://x", "t")])
    monkeypatch.setattr(ownership, "current_owner", lambda home: next(owners))
    monkeypatch.setattr(ownership, "_LOOK_AGAIN_S", 0.0)
    assert ownership.serving_owner(tmp_path).url == "http://x"


def test_other_owners_are_not_waited_for(tmp_path: Path, monkeypatch) -> None:
    owners = iter([Owner(1, "ragsaver ingest")])
    monkeypatch.setattr(ownership, "current_owner", lambda home: next(owners))
    assert ownership.serving_owner(tmp_path) == Owner(1, "ragsaver ingest")


def test_a_killed_owner_leaves_the_index_free(holder: subprocess.Popen, tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    assert current_owner(tmp_path) is None
    Ownership.acquire(tmp_path, "ragsaver ingest").release()


def test_only_the_user_can_read_the_token(tmp_path: Path) -> None:
    held = Ownership.acquire(tmp_path, "ragsaver serve")
    held.publish("http://127.0.0.1:1", "secret")
    assert (tmp_path / OWNER_FILE).stat().st_mode & 0o077 == 0
    held.release()
    assert not (tmp_path / OWNER_FILE).exists()
    held.release()


def test_a_free_home_has_no_owner(tmp_path: Path) -> None:
    assert current_owner(tmp_path / "nothing") is None
    Ownership.acquire(tmp_path, "x").release()
    assert current_owner(tmp_path) is None


def test_a_home_that_can_not_be_made_is_a_clear_error(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(StorageError, match="RAGSAVER_HOME"):
        Ownership.acquire(blocker / "home", "x")
    assert os.path.exists(blocker)


@pytest.mark.parametrize("again", [False, True])
def test_an_owner_whose_state_was_taken_away_is_told_and_leaves_that_of_the_next_one(tmp_path: Path, again: bool):
    home = tmp_path / "home"
    held = Ownership.acquire(home, "ragsaver serve")
    held.still()
    shutil.rmtree(home)
    following = Ownership.acquire(home, "ragsaver ingest") if again else None
    with pytest.raises(StorageError, match="removed, or another put in its place.*Start this process again"):
        held.still()
    held.release()
    if following:
        following.still()
        assert current_owner(home) == Owner(os.getpid(), "ragsaver ingest")
        following.release()
