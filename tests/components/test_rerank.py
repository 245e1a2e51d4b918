"""The component: what is paid for, what is fallen back to, what the receipt says, what is sampled afterwards."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from haystack import Document
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.explain import explaining
from ragsaver.components.request import Request, running
from ragsaver.components.rerank import ConditionalReranker
from ragsaver.components.rerank_watch import RerankWatch, Sample, at_least
from ragsaver.components.resources import Resources, open_resources
from ragsaver.errors import SettingsError
from ragsaver.index.scope import Scope
from ragsaver.settings import RerankSettings, Settings
from ragsaver.spend.pacing import Pace, Service
from ragsaver.spend.receipt import ReceiptLine, open_receipt
from ragsaver.spend.tables import entries
from tests.components.test_rerank_gate import gate, taking
from tests.rerank_server import Script, rerank_server

PASSAGES = [
    Document(id=f"p{n}", content="word " * (n + 1), score=1.0 - n / 10, meta={"dense_score": 0.5, "lexical_score": 1.0})
    for n in range(5)
]


@contextmanager
def resources(tmp_path: Path, **rerank) -> Iterator[Resources]:
    patient = {"deadline_ms": 60_000, "usd_per_1k_calls": 0, **rerank}
    settings = Settings(home=tmp_path / "home", rerank=RerankSettings(**patient))
    opened = open_resources(settings, "a test")
    try:
        yield opened
    finally:
        opened.close()
        opened.ownership.release()


def hurried(given: Resources, left_s: float) -> ReceiptLine | None:
    """The line of a request that has so long left."""
    with running(Request(Scope("default", "default"), deadline=time.monotonic() + left_s)):
        return asked(given, "always")[1]


def asked(given: Resources, mode: str | None = None, **options) -> tuple[list[str], ReceiptLine | None]:
    """The order of the passages afterwards, and the line on the receipt."""
    component = ConditionalReranker(mode, **options)
    component.bind(given)
    with open_receipt() as receipt:
        found = component.run("Which is the longest?", PASSAGES)["documents"]
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    lines = [line for line in receipt.close().lines if line.stage == "rerank"]
    assert len(lines) <= 1
    return [one.id for one in found], lines[0] if lines else None


def gate_file(tmp_path: Path, name: str, **changes) -> str:
    file = tmp_path / "gate.json"
    file.write_text(gate(reranker=name, weight=1.0, **changes).model_dump_json())
    return str(file)


SAME, LONGEST_FIRST = ["p0", "p1", "p2", "p3", "p4"], ["p4", "p3", "p2", "p1", "p0"]


def test_nothing_is_asked_or_said_where_reranking_is_off(tmp_path: Path):
    with (
        rerank_server(script := Script()) as url,
        resources(tmp_path, backend="remote", url=url) as given,
        explaining(True) as explanation,
    ):
        assert asked(given) == (SAME, None)
        assert explanation.told().rerank == "not asked: it is off"
    assert script.requests == []


def test_a_reranked_question_has_a_new_order_and_a_price(tmp_path: Path):
    priced = {"usd_per_1k_calls": Decimal(2), "usd_per_mtok": Decimal(10)}
    with rerank_server(Script()) as url, resources(tmp_path, backend="remote", url=url, model="big", **priced) as given:
        order, line = asked(given, "always")
        tokens = sum(given.encoder.count_tokens([one.content for one in PASSAGES]))
        tokens += 5 * given.encoder.count_tokens(["Which is the longest?"])[0]
    assert order == LONGEST_FIRST
    assert (line.item, line.quantity, line.unit) == ("big", 5, "passages")
    assert line.cost_usd == Decimal("0.002") + tokens * Decimal(10) / 1_000_000
    assert line.reason.startswith("reranked: ")


@pytest.mark.parametrize(("sure", "kept"), [(-2.0, True), (2.0, False)])
def test_an_order_that_is_likelier_to_be_worse_is_not_taken_though_it_is_paid_for(
    tmp_path: Path, sure: float, kept: bool
):
    file = gate_file(tmp_path, "big", intercept=1e3, chances=(0.5,), share=1.0, taking=taking(sure))
    options = {"backend": "remote", "model": "big", "gate": file, "usd_per_1k_calls": 2, "sample_skipped": 0}
    with rerank_server(Script()) as url, resources(tmp_path, url=url, **options) as given:
        with explaining(True) as explanation:
            order, line = asked(given, "gated")
        assert asked(given, "always")[0] == LONGEST_FIRST, "who asks for it has it taken"
        counted = given.reranking.watch.decisions()
    assert order == (SAME if kept else LONGEST_FIRST)
    assert (line.quantity, line.cost_usd) == (5, Decimal("0.002"))
    assert line.reason == explanation.told().rerank
    assert line.reason.startswith("kept: " if kept else "reranked: ")
    assert ("0.12 that its order is better: the order stays" in line.reason) == kept
    assert (counted["kept"], counted["reranked"]) == ((1, 1) if kept else (0, 2))


@pytest.mark.parametrize(("sure", "moved"), [(-2.0, False), (2.0, True)])
def test_a_skipped_question_whose_new_order_were_not_taken_was_skipped_rightly(
    tmp_path: Path, sure: float, moved: bool
):
    file = gate_file(tmp_path, "big", share=0.0, max_share=0.0, taking=taking(sure))
    options = {"backend": "remote", "model": "big", "gate": file, "sample_skipped": 1}
    with rerank_server(Script()) as url, resources(tmp_path, url=url, **options) as given:
        assert asked(given, "gated")[0] == SAME
        given.reranking.watch.settle()
        regret = given.reranking.watch.regret()
    assert (regret.samples, regret.moved, regret.left_behind > 0) == (1, float(moved), moved)


@pytest.mark.parametrize(("usd", "service", "kept"), [(2, "NO_RERANK", True), (2, "FULL", False), (0, "SMALL", False)])
def test_a_reranker_that_costs_money_is_not_asked_as_a_budget_is_pressed(
    tmp_path: Path, usd: int, service: str, kept: bool
):
    pressed = Request(Scope("acme", "docs"), pace=Pace(0.3, Service[service], budget="total per day"))
    with rerank_server(script := Script()) as url:
        given = resources(tmp_path, backend="remote", url=url, usd_per_1k_calls=usd)
        with given as opened, running(pressed), explaining(True) as explanation:
            order, line = asked(opened, "always")
    assert order == (SAME if kept else LONGEST_FIRST)
    assert (script.requests == []) == kept
    assert explanation.told().rerank == line.reason
    assert (line.reason.startswith("not asked: budget total per day"), line.cost_usd == 0) == (kept, kept or usd == 0)


def test_only_the_first_ones_are_looked_at_and_the_rest_stay_behind_them(tmp_path: Path):
    with rerank_server(script := Script()) as url, resources(tmp_path, backend="remote", url=url) as given:
        assert asked(given, "always", top_n=3)[0] == ["p2", "p1", "p0", "p3", "p4"]
    assert len(script.requests[0]["texts"]) == 3


@pytest.mark.parametrize(
    ("script", "decision", "billed"),
    [
        (Script(status=500), "failed", "0"),
        (Script(cut=True), "failed", "0.001"),
        (Script(answer=lambda *_: [{"index": 0, "score": 1}]), "failed", "0.001"),
        (Script(hold=threading.Event()), "late", "0.001"),
        (Script(hold=threading.Event(), drip=True), "late", "0.001"),
    ],
)
def test_whatever_fails_the_order_stays_and_the_receipt_says_why(
    tmp_path: Path, script: Script, decision: str, billed: str
):
    with (
        rerank_server(script) as url,
        resources(
            tmp_path,
            backend="remote",
            url=url,
            deadline_ms=300 if decision == "late" else 60_000,
            usd_per_1k_calls=1,
        ) as given,
    ):
        order, line = asked(given, "always")
        counted = given.reranking.watch.decisions()
    assert order == SAME and line.quantity == 0
    assert line.reason.startswith(f"{decision}: ") and "the order stays" in line.reason
    assert line.cost_usd == Decimal(billed), "what was begun may be billed, what was refused is not"
    assert counted[decision] == sum(counted.values()) == 1


def test_one_that_fails_again_and_again_is_left_alone(tmp_path: Path):
    with rerank_server(script := Script(status=500)) as url, resources(tmp_path, backend="remote", url=url) as given:
        lines = [asked(given, "always")[1] for _ in range(5)]
    assert [line.reason.split(":")[0] for line in lines] == ["failed"] * 3 + ["paused"] * 2
    assert len(script.requests) == 3


def test_a_request_with_less_time_than_the_reranker_may_take_waits_no_longer_than_it_has(tmp_path: Path):
    script = Script(hold=threading.Event())
    with rerank_server(script) as url, resources(tmp_path, backend="remote", url=url) as given:
        late = [hurried(given, left_s) for left_s in (-1.0, 0.2, 0.2, 0.2)]
        script.hold.set()
        order, line = asked(given, "always")
    assert late[0].reason.startswith("late: not begun, since the request has no time left")
    assert all("that the request had left: the order stays" in one.reason for one in late[1:])
    assert order == LONGEST_FIRST and line.reason.startswith("reranked"), "others' hurry is no fault of the reranker"


@pytest.mark.parametrize(
    ("intercept", "decision", "order"), [(9.0, "reranked", LONGEST_FIRST), (-9.0, "skipped", SAME)]
)
def test_the_gate_decides_and_the_receipt_says_so(tmp_path: Path, intercept: float, decision: str, order: list[str]):
    with rerank_server(script := Script()) as url:
        file = gate_file(tmp_path, url, intercept=intercept)
        with resources(tmp_path, backend="remote", url=url, mode="gated", gate=file, sample_skipped=0) as given:
            found, line = asked(given)
    assert found == order and line.reason.startswith(f"{decision}: a chance of")
    assert len(script.requests) == (decision == "reranked")


@pytest.mark.parametrize(
    ("given", "otherwise", "calls"),
    [(None, "never", 0), (None, "always", 1), ("never", "always", 0), ("always", "never", 1)],
)
def test_the_pipeline_s_mode_is_taken_where_the_settings_name_none(
    tmp_path: Path, given: str | None, otherwise: str, calls: int
):
    with rerank_server(script := Script()) as url, resources(tmp_path, backend="remote", url=url, mode=given) as opened:
        asked(opened, otherwise=otherwise)
    assert len(script.requests) == calls


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ({}, "gated"),
        ({"rerank": {"mode": "never"}}, "never"),
        ({"rerank": {"mode": "always"}}, "always"),
        ({"rerank": {"backend": "remote", "url": "http://reranker"}}, "never"),
        ({"embedding": {"model": "another"}}, "never"),
        ({"embedding": {"backend": "sentence-transformers"}}, "never"),
        ({"embedding_cache": {"tokens_mb": 0}}, "never"),
        ({"embedding_cache": {"backend": "redis"}}, "never"),
        ({"retrieval": {"fusion": "rrf"}}, "never"),
        ({"context": {"match": "words"}}, "never"),
    ],
)
def test_what_is_free_is_gated_where_nothing_has_to_be_read_for_it(given: dict[str, object], mode: str):
    component = ConditionalReranker(otherwise="free")
    assert component.mode_by(Settings.model_validate(given)) == mode and not component.insists
    assert ConditionalReranker(otherwise="gated").insists and ConditionalReranker("never", otherwise="free").insists


def test_a_gate_that_is_not_there_is_told_before_a_question(tmp_path: Path):
    gone = {"backend": "remote", "url": "http://127.0.0.1:9", "gate": str(tmp_path / "gone.json")}
    with resources(tmp_path, mode="always", **gone) as given, pytest.raises(SettingsError, match="gone"):
        given.reranking.open("always")


def test_a_gate_of_another_reranker_is_refused_and_its_weight_not_taken(tmp_path: Path):
    with rerank_server(Script()) as url, resources(tmp_path, backend="remote", url=url, model="big") as given:
        with pytest.raises(SettingsError, match="tune-gate"):
            asked(given, "gated")
        assert given.reranking.weight == 1.0


def test_skipped_questions_are_sampled_afterwards_and_told(tmp_path: Path):
    hold = threading.Event()
    with rerank_server(script := Script(hold=hold)) as url:
        file = gate_file(tmp_path, url, intercept=-9.0)
        settings = {"mode": "gated", "gate": file, "sample_skipped": 1, "usd_per_1k_calls": Decimal(1)}
        with resources(tmp_path, backend="remote", url=url, **settings) as given:
            order, line = asked(given)
            assert (order, line.cost_usd) == (SAME, 0), "the answer waits for no sample"
            assert given.reranking.watch.regret().samples == 0
            hold.set()
            given.reranking.watch.settle()
            regret = given.reranking.watch.regret()
    assert (regret.samples, regret.moved, regret.cost_usd) == (1, 1.0, Decimal("0.001"))
    assert regret.left_behind > 0 and len(script.requests) == 1


@pytest.mark.parametrize(("script", "cost"), [(Script(), 1000), (Script(cut=True), 1000), (Script(status=500), 0)])
def test_a_sample_is_charged_to_whoever_asked_the_question(tmp_path: Path, script: Script, cost: int):
    with rerank_server(script) as url:
        file = gate_file(tmp_path, url, intercept=-9.0)
        settings = {"mode": "gated", "gate": file, "sample_skipped": 1, "usd_per_1k_calls": Decimal(1)}
        with resources(tmp_path, backend="remote", url=url, **settings) as given:
            with running(Request(Scope("acme", "docs"), principal="ann", request_id="req_of_the_question")):
                asked(given)
            given.reranking.watch.settle()
            with given.till.ledger.database.reading() as connection:
                charged = connection.execute(sa.select(entries)).all()
    told = [(one.tenant, one.principal, one.task, one.model, one.cost) for one in charged]
    assert told == [("acme", "ann", "rerank-sample", url, cost)]
    assert all(one.request_id != "req_of_the_question" for one in charged), "its receipt was closed"


def test_a_gate_that_misses_more_than_it_did_may_call_more_of_the_tenant_that_it_misses(tmp_path: Path):
    chances = tuple(n / 100 for n in range(100))
    with rerank_server(Script()) as url:
        file = gate_file(tmp_path, url, intercept=0.55, chances=chances, share=0.3, max_share=0.4)
        with resources(tmp_path, backend="remote", url=url, mode="gated", gate=file, sample_skipped=0) as given:
            assert asked(given)[1].reason.startswith("skipped")
            for n in range(60):
                given.reranking.watch.note(Sample(moved=n % 2 == 0, left_behind=0.1), "rival")
            assert asked(given)[1].reason.startswith("skipped")
            with running(Request(Scope("rival", "docs"))):
                assert asked(given)[1].reason.startswith("reranked")
            assert given.reranking.watch.regret().samples == 60


def test_samples_pile_up_no_work_and_one_that_fails_ends_nothing():
    watch, hold = RerankWatch(), threading.Event()

    def slow() -> Sample:
        hold.wait(30)
        return Sample(False, 0.0)

    def broken() -> Sample:
        raise RuntimeError("on purpose")

    assert watch.sample_later(broken, "acme")
    watch.settle()
    taken = sum(watch.sample_later(slow, "acme") for _ in range(50))
    hold.set()
    watch.settle()
    assert watch.regret().samples == taken < 12
    watch.close()


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_bound_is_below_the_share_and_grows_with_the_evidence(hits: int, more: int):
    of = hits + more
    assert 0 <= at_least(hits, of) <= (hits / of if of else 0) + 1e-12
    assert at_least(10 * hits, 10 * of) >= at_least(hits, of) - 1e-12


def test_the_shipped_reranker_finds_the_answer_within_the_process(tmp_path: Path):
    texts = ["Cats sleep sixteen hours a day.", "Dogs bark at night.", "The office issues permits to owners of dogs."]
    passages = [
        Document(content=text, score=1 - n / 10, meta={"dense_score": 0.3, "lexical_score": 1.0})
        for n, text in enumerate(texts)
    ]
    with resources(tmp_path, mode="always", weight=1) as given:
        component = ConditionalReranker()
        component.bind(given)
        component.warm_up()
        found = component.run("Who gives out permits?", passages)["documents"]
    assert found[0].content == texts[2]


@pytest.mark.parametrize("given", [{"mode": "sometimes"}, {"otherwise": "sometimes"}, {"top_n": 1}])
def test_parameters_that_make_no_sense_are_refused(given: dict):
    with pytest.raises(ValueError, match="must be"):
        ConditionalReranker(**given)
