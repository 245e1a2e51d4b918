"""Rerankers: MaxSim over the shipped model, a server that may fail in any way, cross-encoders on both back ends."""

import json
import math
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.errors import RerankError, RerankLate, SettingsError
from ragsaver.models.embedded_text import embedded_hash
from ragsaver.models.registry import load_encoder
from ragsaver.models.rerankers import maxsim
from ragsaver.models.rerankers.maxsim import MaxSimReranker, PassageText, max_sim
from ragsaver.models.rerankers.opening import open_reranker
from ragsaver.models.rerankers.remote import RemoteReranker
from ragsaver.models.token_signs import TokenSigns, signs_of
from ragsaver.settings import EmbeddingSettings, RerankSettings
from tests.rerank_server import Script, rerank_server
from tests.sign_steps import in_steps

TEXTS = ["Owls hunt voles at night.", "The office issues permits for fishing.", "A parrot eats forty grams of seeds."]


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(EmbeddingSettings(threads=1))


@contextmanager
def reading(encoder, pause=lambda: None):
    """The texts that are read meanwhile."""
    texts, read = [], encoder.read

    def noting(some, *more):
        texts.extend(some)
        pause()
        return read(some, *more)

    encoder.read = noting
    try:
        yield texts
    finally:
        del encoder.read


def passages(texts):
    return [PassageText(text) for text in texts]


def test_maxsim_puts_the_passage_that_answers_first(encoder):
    scores = MaxSimReranker(encoder).score("Who gives out permits?", TEXTS)
    assert (scores.shape, scores.dtype, int(scores.argmax())) == ((3,), np.float32, 1)
    assert (np.abs(scores) <= 1.001).all()


def test_maxsim_gives_kept_vectors_and_fresh_ones_the_same_scores(encoder):
    kept, fresh = MaxSimReranker(encoder), MaxSimReranker(encoder, cache_mb=0)
    first = kept.score("Who gives out permits?", TEXTS)
    with reading(encoder) as read:
        np.testing.assert_array_equal(kept.score("Who gives out permits?", TEXTS, tenant=""), first)
        assert read == []
        kept.score("Who gives out permits?", TEXTS, tenant="another")
        assert read == TEXTS, "what one tenant's passages left behind must not serve another's"
    np.testing.assert_array_equal(fresh.score("Who gives out permits?", TEXTS), first)
    assert fresh._bytes == 0 and not fresh._kept


def test_maxsim_keeps_no_more_than_it_may(encoder):
    small = MaxSimReranker(encoder, cache_mb=1)
    for n in range(40):
        small.score("permits", [f"{n} " + "words of the office " * 30])
    assert 0 < small._bytes <= 2**20
    assert small._bytes == sum(one.nbytes for one in small._kept.values())


def test_maxsim_gives_up_when_it_is_too_late(encoder):
    with pytest.raises(RerankLate):
        MaxSimReranker(encoder).score("permits", TEXTS, until=time.monotonic() - 1)


def test_what_was_read_before_it_was_too_late_is_kept(encoder, monkeypatch):
    texts = [f"Owl number {number} hunts voles at night." for number in range(20)]
    reranker, looked = MaxSimReranker(encoder), []
    with reading(encoder) as read:

        def late(_):
            looked.append(1)
            if len(read) > 8:
                raise RerankLate("was not done in time")

        with monkeypatch.context() as patched, pytest.raises(RerankLate):
            patched.setattr(maxsim, "giving_up", lambda *_: late)
            reranker.of_passages(passages(texts))
        assert looked
        assert len(read) == 16
        read.clear()
        assert len(reranker.of_passages(passages(texts))) == 20
        assert read == texts[8:]


def test_what_two_threads_want_is_read_once(encoder):
    reranker, both = MaxSimReranker(encoder), threading.Barrier(2)

    def ask(_: int):
        both.wait()
        return reranker.of_passages(passages(TEXTS))

    with reading(encoder) as read, ThreadPoolExecutor(2) as pool:
        one, other = pool.map(ask, range(2))
    assert sorted(read) == sorted(TEXTS)
    assert all(np.array_equal(mine.signs, theirs.signs) for mine, theirs in zip(one, other, strict=True))


def test_who_waits_for_another_s_reading_gives_up_in_time(encoder):
    reranker, begun, on = MaxSimReranker(encoder), threading.Event(), threading.Event()

    def pause():
        begun.set()
        on.wait(30)

    with reading(encoder, pause), ThreadPoolExecutor(1) as pool:
        first = pool.submit(reranker.of_passages, passages(TEXTS))
        begun.wait(30)
        try:
            with pytest.raises(RerankLate):
                reranker.of_passages(passages(["something else"]), until=time.monotonic() + 0.05)
        finally:
            on.set()
        assert len(first.result()) == len(TEXTS)


class Store(dict):
    """Of one tenant."""

    def get(self, tenant, names):
        assert tenant == "acme"
        return {name: self[name] for name in names if name in self}

    def put(self, tenant, packed):
        assert tenant == "acme"
        self.update(packed)


def test_what_the_store_has_is_not_read_and_what_it_lacks_is_put_there(encoder):
    named = [
        PassageText(text, embedded_hash(encoder.fingerprint, f"Owls > Food\n{text}"), "Food", "Owls") for text in TEXTS
    ]
    store, lacking = Store(), []
    with reading(encoder) as read:
        first = MaxSimReranker(encoder, store=store).of_passages(named, tenant="acme", on_lacking=lacking.extend)
        assert read == lacking == [f"Owls > Food\n{text}" for text in TEXTS], "what was embedded is what is read"
        assert list(store) == [one.name for one in named]
        again = MaxSimReranker(encoder, store=store).of_passages(named, tenant="acme", on_lacking=lacking.extend)
        assert len(read) == len(lacking) == len(TEXTS)
    for one, other, text in zip(first, again, TEXTS, strict=True):
        np.testing.assert_array_equal(one.signs, other.signs)
        np.testing.assert_array_equal(one.spans, other.spans)
        said = [text[begin:end] for begin, end in one.spans if end > begin]
        assert said[0] == text.split()[0] and said[-1] == ".", "places are those in what is shown"


def test_a_passage_whose_embedded_text_is_not_known_is_read_as_it_is_shown_and_not_stored(encoder):
    store = Store()
    with reading(encoder) as read:
        strange = PassageText(TEXTS[0], "0" * 32, "Food", "Owls")
        MaxSimReranker(encoder, store=store).of_passages([strange, PassageText(TEXTS[1])], tenant="acme")
    assert (read, store) == (TEXTS[:2], {})


def test_bytes_of_another_model_or_of_none_are_read_anew(encoder):
    text = TEXTS[0]
    named = PassageText(text, embedded_hash(encoder.fingerprint, text))
    (right,) = MaxSimReranker(encoder).of_passages([named])
    for wrong in (b"", b"12345678", right.packed()[:-1], replace(right, signs=right.signs[:, :8]).packed()):
        (found,) = MaxSimReranker(encoder, store=Store({named.name: wrong})).of_passages([named], tenant="acme")
        np.testing.assert_array_equal(found.signs, right.signs)


def test_each_token_s_place_in_the_text_is_known():
    prefixed = load_encoder(EmbeddingSettings(threads=1, prefix="passage: ", max_tokens=16))
    (read,) = prefixed.read([TEXTS[0]])[1]
    assert len(read.spans) == len(read.signs)
    said = [TEXTS[0][begin:end] for begin, end in read.spans if end > begin]
    assert said == ["Owls", "hunt", "vol", "es", "at", "night", "."]


def test_one_run_gives_what_encoding_gives_and_the_tokens_too(encoder):
    texts = [*TEXTS, "", "a", TEXTS[0]]
    vectors, read = encoder.read(texts)
    np.testing.assert_array_equal(vectors, encoder.encode(texts))
    assert [one.characters for one in read] == list(map(len, texts))
    assert [len(one.signs) for one in read[3:5]] == [2, 3]
    assert all(one.signs.shape == (len(one.spans), encoder.dim // 8) for one in read)
    asked, tokens = encoder.ask(texts)
    np.testing.assert_array_equal(asked, encoder.encode(texts, query=True))
    for vector, one in zip(tokens, read, strict=True):
        np.testing.assert_allclose(np.linalg.norm(vector, axis=1), 1.0, atol=1e-5)
        there = (
            slice(1, -1) if len(one.signs) > 2 else slice(None)
        )  # questions lack special tokens, if they have others
        np.testing.assert_array_equal(signs_of(vector), one.signs[there])
    none, no_tokens = encoder.read([])
    assert none.shape == (0, encoder.dim) and no_tokens == [] and encoder.ask([])[1] == []


unit = st.lists(st.lists(st.floats(-1, 1, width=32), min_size=8, max_size=8), max_size=5).map(
    lambda rows: np.array([np.array(row) / max(np.linalg.norm(row), 1e-6) for row in rows], dtype=np.float32).reshape(
        -1, 8
    )
)


def signed(vectors) -> TokenSigns:
    return TokenSigns(signs_of(vectors), np.zeros((len(vectors), 2), dtype=np.int32), 0)


@given(unit, unit, unit)
def test_a_longer_passage_never_matches_less(question, passage, more):
    question, longer = in_steps(question), np.concatenate([passage, more])
    alone, together = max_sim(question, [signed(passage), signed(longer)])
    if len(passage):
        assert together >= alone - 1e-5
        if len(question):
            rows = np.where(passage > 0, 1, -1) / math.sqrt(8)
            assert alone == pytest.approx(float((question @ rows.T).max(axis=1).mean()), abs=1e-5)
    else:
        assert alone == 0
    assert -1.001 <= together <= 1.001


def test_a_server_is_asked_as_text_embeddings_inference_wants_it_and_its_order_does_not_matter():
    script = Script()
    with rerank_server(script) as url:
        remote = RemoteReranker(url + "/", api_key="secret")
        assert remote.score("q", ["a", "bbb", "cc"]).tolist() == [1.0, 3.0, 2.0]
        remote.close()
    assert script.requests == [{"path": "/rerank", "query": "q", "texts": ["a", "bbb", "cc"], "truncate": True}]
    assert {name.lower(): value for name, value in script.headers[0].items()}["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    "answer",
    [
        {"scores": [1, 2]},
        [{"index": 0, "score": 1.0}],
        [{"index": 0, "score": 1.0}, {"index": 0, "score": 2.0}],
        [{"index": 0, "score": 1.0}, {"index": 2, "score": 2.0}],
        [{"index": 0, "score": 1.0}, {"index": 1, "score": None}],
        [{"index": 0, "score": 1.0}, {"index": 1, "score": math.nan}],
        [{"index": 0, "score": 1.0}, {"index": 1, "score": 1.0}, {"index": 1, "score": 1.0}],
        [1, 2],
        None,
        b"<html>busy</html>",
        b"[" * 5_000_000,  # more than an answer may hold
        b"[" * 200_000,  # less: the parser gives up
        b'[{"index": Infinity, "score": 1}, {"index": 1, "score": 1}]',
        b'[{"index": 0, "score": ' + b"9" * 400 + b'}, {"index": 1, "score": 1}]',
        b'[{"index": 0, "score": 1e39}, {"index": 1, "score": 1}]',
    ],
)
def test_an_answer_of_another_shape_is_an_error(answer):
    with rerank_server(Script(answer=lambda *_: answer)) as url, pytest.raises(RerankError) as caught:
        RemoteReranker(url).score("q", ["a", "b"])
    assert not isinstance(caught.value, RerankLate) and caught.value.remedy


@pytest.mark.parametrize("script", [Script(status=500), Script(status=429), Script(status=302), Script(cut=True)])
def test_a_server_that_fails_or_cuts_is_an_error(script: Script):
    with rerank_server(script) as url, pytest.raises(RerankError):
        RemoteReranker(url).score("q", ["a", "b"])


@pytest.mark.parametrize("drip", [False, True])
def test_a_server_that_is_slow_or_drips_is_given_up_in_time(drip: bool):
    with rerank_server(Script(hold=threading.Event(), drip=drip)) as url, pytest.raises(RerankLate):
        RemoteReranker(url).score("q", ["a", "b"], until=time.monotonic() + 0.3)


def test_nobody_there_is_an_error():
    with rerank_server(Script()) as url:
        pass
    with pytest.raises(RerankError, match="reached") as caught:
        RemoteReranker(url.replace("://", "://me:hunter2@")).score("q", ["a"])
    assert url in str(caught.value) and "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"backend": "onnx"}, "needs a `model`"),
        ({"backend": "sentence-transformers"}, "needs a `model`"),
        ({"backend": "remote"}, "needs a `url`"),
        ({"backend": "remote", "url": "ftp://a"}, "begins with http"),
        ({"backend": "remote", "url": "http://[::1"}, "is no address"),
        ({"backend": "remote", "url": "http://a b"}, "is no address"),
        ({"backend": "remote", "url": "http://a:99999"}, "is no address"),
        ({"backend": "remote", "url": "http:///rerank"}, "is no address"),
        ({"backend": "remote", "url": "http://a", "api_key": "k\u00e9y"}, "only printable ASCII"),
        ({"backend": "remote", "url": "http://a", "api_key": "key\n"}, "only printable ASCII"),
    ],
)
def test_settings_that_name_no_reranker_are_refused(given: dict, said: str):
    with pytest.raises(ValueError, match=said):
        RerankSettings(**given)


def test_a_folder_without_a_model_is_named(tmp_path, encoder):
    with pytest.raises(SettingsError, match=r"holds no model\.onnx"):
        open_reranker(RerankSettings(backend="onnx", model=str(tmp_path)), EmbeddingSettings(), encoder)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, exported):
    """A small cross-encoder with random weights, in a folder that either back end runs."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder = tmp_path_factory.mktemp("cross-encoder")
    tokenizer = BertTokenizerFast.from_pretrained(exported[1])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), num_labels=1, initializer_range=0.5, **shape)
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    names = ["input_ids", "attention_mask", "token_type_ids"]

    class Logits(torch.nn.Module):
        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).logits

        def __init__(self):
            super().__init__()
            self.bert = model

    example = torch.ones((2, 5), dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits(),
            (example, example, torch.zeros_like(example)),
            str(folder / "model.onnx"),
            input_names=names,
            output_names=["logits"],
            dynamic_axes={**{name: {0: "batch", 1: "tokens"} for name in names}, "logits": {0: "batch"}},
            dynamo=False,
        )
    return folder


@pytest.mark.train
def test_both_back_ends_of_a_cross_encoder_give_the_same_scores(classifier, encoder):
    texts = [
        "a cab",
        "the quick brown fox " * 40,
        "",
        "b",
        "zebra crossing",
        *(f"text {letter}" for letter in "abcdefghijklmnopqrstuvwxyz"),
    ]
    found = [
        open_reranker(
            RerankSettings(backend=backend, model=str(classifier), max_tokens=64),
            EmbeddingSettings(device="cpu"),
            encoder,
        ).score("a quick cab", texts)
        for backend in ("onnx", "sentence-transformers")
    ]
    assert found[0].dtype == found[1].dtype == np.float32
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
    assert len(np.unique(found[0].round(4))) > 20


@pytest.mark.train
@pytest.mark.parametrize("backend", ["onnx", "sentence-transformers"])
def test_a_cross_encoder_reads_the_pair_and_gives_up_in_time(classifier, encoder, backend):
    settings = RerankSettings(backend=backend, model=str(classifier))
    cross = open_reranker(settings, EmbeddingSettings(device="cpu"), encoder)
    assert cross.score("a", ["b"])[0] != cross.score("b", ["a"])[0]
    assert cross.score("a", []).shape == (0,)
    with pytest.raises(RerankLate):
        cross.score("a", ["b"], until=time.monotonic() - 1)


@pytest.mark.train
@pytest.mark.parametrize("backend", ["onnx", "sentence-transformers"])
def test_questions_that_share_runs_get_the_scores_that_they_get_alone(classifier, encoder, backend):
    settings = RerankSettings(backend=backend, model=str(classifier), max_tokens=64)
    cross = open_reranker(settings, EmbeddingSettings(device="cpu", threads=1), encoder)
    asked = [(f"question {letter}", [f"text {letter} " * n for n in range(1, 8)]) for letter in "abcdefgh"]
    alone = [cross.score(*one) for one in asked]
    together, sizes = threading.Barrier(len(asked)), []
    runs = cross._runs if backend == "onnx" else cross._opened_once()[0]
    runs._are_shared, run = True, runs._run
    runs._run = lambda pairs: sizes.append(len(pairs)) or run(pairs)

    def ask(one):
        together.wait()
        return cross.score(*one)

    with ThreadPoolExecutor(len(asked)) as pool:
        shared = list(pool.map(ask, asked))
    for mine, theirs in zip(alone, shared, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
    assert sum(sizes) == 8 * 7


@pytest.mark.train
@pytest.mark.parametrize("backend", ["onnx", "sentence-transformers"])
def test_a_model_that_is_no_cross_encoder_is_refused(exported, encoder, backend, tmp_path):
    folder = exported[1]
    if backend == "sentence-transformers":
        folder = tmp_path / "broken"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    cross = open_reranker(RerankSettings(backend=backend, model=str(folder)), EmbeddingSettings(device="cpu"), encoder)
    with pytest.raises(SettingsError):
        cross.score("a", ["b"])
