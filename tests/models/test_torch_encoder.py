"""sentence-transformers as a back end: its vectors, those of onnxruntime for the same model, prefixes, fingerprints."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ragsaver.errors import MissingExtra, SettingsError
from ragsaver.models.registry import load_encoder
from ragsaver.models.torch_encoder import TorchEncoder
from ragsaver.settings import EmbeddingSettings

TEXTS = ["a cab", "the quick brown fox", "", "z " * 100, "a cab", "déjà vu", "北京"]
ROOT = Path(__file__).resolve().parents[2]


def encoder(folder, **settings):
    given = {"backend": "sentence-transformers", "model": str(folder), "device": "cpu", "max_tokens": 64, **settings}
    return load_encoder(EmbeddingSettings(**given))


@pytest.mark.train
def test_vectors_are_those_of_sentence_transformers(exported):
    theirs, folder = exported
    ours = encoder(folder, batch_tokens=96)
    vectors = ours.encode(TEXTS)
    assert (vectors.dtype, vectors.shape, ours.dim) == (np.float32, (len(TEXTS), 32), 32)
    np.testing.assert_allclose(vectors, theirs.encode(TEXTS), atol=1e-5)
    assert len(np.unique(vectors.round(4), axis=0)) == len(set(TEXTS))


@pytest.mark.train
def test_a_model_that_pads_on_the_left_is_padded_there(exported):
    ours = encoder(exported[1], batch_tokens=96)
    ours._model.tokenizer.padding_side = "left"
    lengths, pad = ours._tokenize(TEXTS)
    masks = pad(list(range(len(TEXTS))))["attention_mask"].numpy()
    assert masks.sum(axis=1).tolist() == lengths and (np.diff(masks, axis=1) >= 0).all()


@pytest.mark.train
def test_the_batches_that_are_run_are_told_of_and_questions_are_not(exported):
    told: list[tuple[int, int]] = []
    settings = EmbeddingSettings(
        backend="sentence-transformers", model=str(exported[1]), device="cpu", max_tokens=64, batch_tokens=96
    )
    ours = load_encoder(settings, lambda tokens, padded: told.append((tokens, padded)))
    assert ours.dim == 32
    ours.encode(TEXTS, query=True)
    assert told == []
    finished: list[int] = []
    ours.encode(TEXTS, finished.append)
    assert len(told) == len(finished) > 1
    assert all(0 < tokens <= padded <= 96 for tokens, padded in told)


@pytest.mark.train
def test_both_back_ends_give_the_same_vectors(exported):
    folder = exported[1]
    by_torch, by_onnx = encoder(folder).encode(TEXTS), encoder(folder, backend="onnx").encode(TEXTS)
    assert ((by_torch * by_onnx).sum(axis=1) > 0.9999).all()


@pytest.mark.train
@pytest.mark.parametrize("backend", ["onnx", "sentence-transformers"])
def test_documents_and_questions_have_prefixes_of_their_own(exported, backend):
    plain = encoder(exported[1], backend=backend)
    prefixed = encoder(exported[1], backend=backend, prefix="d ", query_prefix="q ")
    np.testing.assert_allclose(prefixed.encode(["cab"]), plain.encode(["d cab"]), atol=1e-6)
    np.testing.assert_allclose(prefixed.encode(["cab"], query=True), plain.encode(["q cab"]), atol=1e-6)
    assert prefixed.count_tokens(["cab"]) == plain.count_tokens(["cab"]) == [3]


@pytest.mark.train
def test_fingerprints_differ_by_back_end_and_whatever_shapes_a_vector(exported):
    folder = exported[1]
    settings = [{}, {"backend": "onnx"}, {"prefix": "d "}, {"max_tokens": 32}, {"precision": "float16"}]
    assert len({encoder(folder, **one).fingerprint for one in settings}) == len(settings)
    same = [{}, {"query_prefix": "q "}, {"batch_tokens": 64}, {"precision": "float32"}]
    assert len({encoder(folder, **one).fingerprint for one in same}) == 1


@pytest.mark.train
def test_float16_moves_vectors_a_little_only(exported):
    near = encoder(exported[1], precision="float16").encode(TEXTS) * encoder(exported[1]).encode(TEXTS)
    assert (near.sum(axis=1) > 0.999).all()


@pytest.mark.train
def test_what_lies_behind_the_cut_changes_nothing_and_is_counted(exported):
    short = encoder(exported[1], max_tokens=16)
    np.testing.assert_allclose(short.encode(["a " * 14 + "b"]), short.encode(["a " * 14 + "c d"]), atol=1e-6)
    assert short.count_tokens(["a " * 100, ""]) == [100, 0]
    assert short.count_tokens([]) == []


@pytest.mark.train
def test_no_text_gives_no_vector_and_progress_counts_every_text(exported):
    seen: list[int] = []
    ours = encoder(exported[1], batch_tokens=64)
    assert ours.encode([]).shape == (0, 32)
    ours.encode(TEXTS * 5, seen.append)
    assert sum(seen) == len(TEXTS) * 5 and len(seen) > 1


@pytest.mark.train
def test_threads_may_share_an_encoder(exported):
    ours = encoder(exported[1])

    def work(text):
        return ours.count_tokens([text])[0], ours.encode([text])[0]

    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(work, TEXTS * 5))
    for text, (count, vector) in zip(TEXTS * 5, rows, strict=True):
        assert count == ours.count_tokens([text])[0]
        np.testing.assert_allclose(vector, ours.encode([text])[0], atol=1e-5)


@pytest.mark.train
def test_vectors_that_overflow_are_refused(exported, tmp_path):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(exported[1]), device="cpu")
    model[0].model.embeddings.word_embeddings.weight.data.fill_(float("inf"))
    model.save(str(tmp_path))
    with pytest.raises(SettingsError, match="not finite.*float32"):
        encoder(tmp_path).encode(["cab"])


@pytest.mark.train
def test_cuda_asked_of_a_machine_without_it_names_the_remedy(exported):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises((MissingExtra, SettingsError), match="embedding.device.*(pip install torch|nvidia-smi)"):
        encoder(exported[1], device="cuda").encode(["cab"])


@pytest.mark.train
def test_a_model_of_the_hub_is_told_by_its_commit(exported, tmp_path):
    """A hub cache as a download leaves it, read offline in a process of its own."""
    repository = tmp_path / "hub" / "models--tiny--bert"
    seen = []
    for commit in ("1" * 40, "2" * 40):
        snapshot = repository / "snapshots" / commit
        snapshot.parent.mkdir(parents=True, exist_ok=True)
        snapshot.symlink_to(exported[1], target_is_directory=True)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "main").write_text(commit)
        code = (
            "import json; from ragsaver.models.torch_encoder import TorchEncoder as E\n"
            "from ragsaver.models.options import EncoderOptions\n"
            "cpu = EncoderOptions(device='cpu')\n"
            "a, b = E('tiny/bert', cpu), E('tiny/bert@' + '1' * 40, cpu)\n"
            "print(json.dumps([a.name, a.dim, a.fingerprint, b.fingerprint]))"
        )
        environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        seen.append(json.loads(done.stdout.splitlines()[-1]))
    (name, dim, first, pinned), (_, _, second, pinned_still) = seen
    assert (name, dim) == ("tiny/bert", 32)
    assert first == pinned == pinned_still != second


@pytest.mark.train
def test_a_model_that_is_not_there_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SettingsError, match="can't be loaded") as caught:
        encoder(tmp_path).encode(["cab"])
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("model", ["/nowhere", "./owner/name", "a/b/c", "bert", ""])
def test_what_is_neither_a_folder_nor_a_name_on_the_hub_is_named_at_once(model):
    with pytest.raises(SettingsError, match="is neither a folder nor a name on the hub"):
        encoder(model)


def test_without_sentence_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"ragsaver\[train\]"):
        TorchEncoder("some/model").encode(["text"])
