"""What was said is kept by policy, for as long as it may be, and can be deleted for good."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.errors import StorageError
from ragsaver.logs.content_log import DAY_S, ContentLog
from ragsaver.logs.content_store import FILE, ContentStore
from ragsaver.logs.observed import Observed
from ragsaver.logs.policy import KEY_FILE, Said, by_policy, hashed, key_of, sampled
from ragsaver.settings import LoggingSettings, Settings

SAID = Said(
    at=1000.0,
    request_id="req_1",
    tenant="acme",
    principal="bob",
    pipeline="query",
    outcome="answered",
    question="Who is bob@example.org?",
    contexts=("Bob answers at 192.0.2.7.", "Owls hunt."),
    answer="Bob, +49 30 1234567.",
)


def observed(question: str = SAID.question, tenant: str = "acme") -> Observed:
    made = Observed(contexts=list(SAID.contexts), answer=SAID.answer)
    made.asks(question, "query", tenant, "bob")
    return made


def settings(home: Path, **logging: object) -> Settings:
    return Settings(home=home, logging=LoggingSettings(**logging))  # type: ignore[arg-type]


def kept(home: Path) -> list[tuple[str, Said]]:
    store = ContentStore(home)
    try:
        return list(store.all())
    finally:
        store.close()


def in_files(home: Path, text: str) -> bool:
    return any(text.encode() in file.read_bytes() for file in home.iterdir())


def test_by_default_nothing_is_kept(tmp_path: Path):
    log = ContentLog(settings(tmp_path))
    log.keep(observed(), "req_1", "answered")
    log.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("policy", ["hashed", "redacted", "full"])
def test_a_policy_decides_what_is_in_the_file(tmp_path: Path, policy: str):
    log = ContentLog(settings(tmp_path, content=policy), lambda: 1000.0)
    log.keep(observed(), "req_1", "answered")
    log.close()
    ((by, said),) = kept(tmp_path)
    assert (by, said.request_id, said.tenant, said.principal) == (policy, "req_1", "acme", "bob")
    assert len(said.contexts) == 2
    for secret in ("bob@example.org", "192.0.2.7", "1234567"):
        assert in_files(tmp_path, secret) == (policy == "full")
    assert in_files(tmp_path, "Owls hunt") == (policy != "hashed")
    if policy == "redacted":
        assert (said.question, said.answer) == ("Who is [email]?", "Bob, [phone].")


def test_files_are_for_their_owner_only(tmp_path: Path):
    log = ContentLog(settings(tmp_path, content="hashed"))
    log.keep(observed(), "req_1", "answered")
    log.close()
    assert {KEY_FILE, FILE} <= {file.name for file in tmp_path.iterdir()}
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_equal_questions_of_a_tenant_have_equal_hashes_and_no_others(tmp_path: Path):
    key = key_of(tmp_path)
    assert key == key_of(tmp_path)
    first = hashed("Who  issues permits?", "acme", key)
    assert first == hashed(" who issues PERMITS?\n", "acme", key)
    assert first != hashed("Who issues permits?", "other", key)
    assert first != hashed("Who issues permits", "acme", key)
    assert first != hashed("Who issues permits?", "acme", key_of(tmp_path / "elsewhere"))


def test_a_damaged_key_is_named(tmp_path: Path):
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(StorageError, match=KEY_FILE):
        key_of(tmp_path)


@given(st.text(min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_sample_holds_the_smaller_one(request_id: str, one: float, other: float):
    assert sampled(request_id, min(one, other)) <= sampled(request_id, max(one, other))
    assert sampled(request_id, 1.0) and not sampled(request_id, 0.0)


def test_a_sample_is_about_as_large_as_its_share():
    share = sum(sampled(f"req_{number}", 0.3) for number in range(10_000)) / 10_000
    assert 0.28 < share < 0.32


def test_what_is_too_old_goes_at_the_start_and_then_daily(tmp_path: Path):
    now = 100 * DAY_S
    store = ContentStore(tmp_path)
    ages = (0.5, 6.9, 7.1, 40)
    store.add([replace(SAID, at=now - age * DAY_S, request_id=f"{age}") for age in ages], "full")
    store.close()
    log = ContentLog(settings(tmp_path, retention_days=7), lambda: now)
    log.start()
    log.close()
    assert {said.request_id for _, said in kept(tmp_path)} == {"0.5", "6.9"}

    later = [now]
    log = ContentLog(settings(tmp_path, retention_days=7), lambda: later[0])
    log._clean_if_due()
    later[0] += 0.9 * DAY_S
    log._clean_if_due()
    assert len(kept(tmp_path)) == 2
    later[0] += 0.2 * DAY_S
    log._clean_if_due()
    log.close()
    assert {said.request_id for _, said in kept(tmp_path)} == {"0.5"}


def test_purging_deletes_by_tenant_principal_and_time_and_leaves_no_bytes(tmp_path: Path):
    store = ContentStore(tmp_path)
    assert store.purge() == 0 and not (tmp_path / FILE).exists()
    questions = {("acme", "bob", 1.0): "zebra", ("acme", "eve", 2.0): "quokka", ("other", "bob", 3.0): "narwhal"}
    for (tenant, principal, at), question in questions.items():
        store.add([replace(SAID, tenant=tenant, principal=principal, at=at, question=question)], "full")
    assert store.purge("acme", before=2.0) == 1
    assert {said.question for _, said in store.all()} == {"quokka", "narwhal"}
    assert not in_files(tmp_path, "zebra")
    assert store.purge("acme", principal="bob") == 0
    assert store.purge(principal="bob") == 1
    assert [said.question for _, said in store.all("acme")] == ["quokka"]
    assert not in_files(tmp_path, "narwhal")
    store.close()


def test_full_content_holds_no_secret_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from ragsaver.logs import policy
    from ragsaver.logs.secrets import Secrets

    known = Secrets()
    known.add("the-operator-s-key")
    monkeypatch.setattr(policy, "KNOWN", known)
    said = by_policy(replace(SAID, question="Is the-operator-s-key mine?"), "full", None)
    assert said.question == "Is [secret] mine?"
