"""The shipped model: order, norms, cut, prefixes, threads, devices, and what a missing part is told."""

import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ragsaver.errors import MissingExtra, SettingsError
from ragsaver.models.onnx_encoder import OnnxEncoder, mean_pool
from ragsaver.models.onnx_session import OnnxSession
from ragsaver.models.options import EncoderOptions
from ragsaver.models.registry import bundled_folder, load_encoder
from ragsaver.settings import EmbeddingSettings

TEXTS = [
    "How do I split documents?",
    "",
    "a " * 400,
    "Le chat dort.",
    "猫が寝ている",
    "\x00\ufffd ",
    "How do I split documents?",
]


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(EmbeddingSettings(device="cpu"))


def test_vectors_come_in_the_order_given(encoder):
    together = encoder.encode(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        alone = encoder.encode([text])[0]
        assert float(alone @ vector) > 0.95, text  # int8 scales by the batch: not equal, but near
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_like_texts_are_nearer_than_unlike_ones(encoder):
    cat, kitten, tax = encoder.encode(
        ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "File your tax return."]
    )
    assert cat @ kitten > 0.5 > 0.3 > cat @ tax


def test_between_questions_a_model_takes_no_processor():
    encoder = OnnxEncoder(bundled_folder(), EncoderOptions(threads=2))
    encoder.encode(["warm"])
    spent = []
    for _ in range(5):
        encoder.encode(["How do I split documents?"], query=True)
        before = time.process_time()
        time.sleep(0.06)
        spent.append(time.process_time() - before)
    assert min(spent) < 0.02  # a thread that waits for work in a loop would take nearly all of it


def test_no_text_gives_no_vector(encoder):
    assert encoder.encode([]).shape == (0, encoder.dim) == (0, 384)


def test_what_lies_behind_the_cut_changes_nothing():
    short = OnnxEncoder(bundled_folder(), EncoderOptions(max_tokens=16))
    first, second = short.encode(["word " * 14 + "cat"])[0], short.encode(["word " * 14 + "tax return"])[0]
    np.testing.assert_array_equal(first, second)


def test_tokens_are_counted_without_the_cut(encoder):
    assert encoder.count_tokens(["", "hello world", "word " * 1000]) == [0, 2, 1000]


def test_threads_may_share_an_encoder():
    encoder = OnnxEncoder(bundled_folder())
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda text: encoder.encode([text])[0], TEXTS * 5))
    for text, row in zip(TEXTS * 5, rows, strict=True):
        np.testing.assert_allclose(row, encoder.encode([text])[0], atol=1e-5)


def test_progress_counts_every_text(encoder):
    seen: list[int] = []
    encoder.encode(TEXTS * 20, seen.append)
    assert sum(seen) == len(TEXTS) * 20 and len(seen) > 1


def test_a_row_without_tokens_stays_zero():
    pooled = mean_pool(np.ones((1, 3, 4), np.float32), np.zeros((1, 3), np.int64))
    np.testing.assert_array_equal(pooled, np.zeros((1, 4), np.float32))


def test_padding_does_not_count():
    hidden = np.array([[[3.0, 4.0], [100.0, -7.0]]], np.float32)
    np.testing.assert_allclose(mean_pool(hidden, np.array([[1, 0]])), [[0.6, 0.8]], atol=1e-6)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"holds no model\.onnx") as caught:
        load_encoder(EmbeddingSettings(model=str(tmp_path)))
    assert str(tmp_path) in str(caught.value) and "embedding.model" in str(caught.value)


def test_a_broken_model_file_is_named(tmp_path):
    shutil.copy(bundled_folder() / "tokenizer.json", tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    encoder = OnnxEncoder(tmp_path)
    with pytest.raises(SettingsError, match="no usable ONNX model"):
        encoder.encode(["text"])


def test_without_onnxruntime_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"ragsaver\[cpu\]"):
        OnnxEncoder(bundled_folder()).encode(["text"])


def test_documents_and_questions_have_prefixes_of_their_own(encoder):
    prefixed = OnnxEncoder(bundled_folder(), EncoderOptions(device="cpu", prefix="passage: ", query_prefix="query: "))
    np.testing.assert_array_equal(prefixed.encode(["a cat"]), encoder.encode(["passage: a cat"]))
    np.testing.assert_array_equal(prefixed.encode(["a cat"], query=True), encoder.encode(["query: a cat"]))
    np.testing.assert_array_equal(encoder.encode(["a cat"], query=True), encoder.encode(["a cat"]))
    assert prefixed.count_tokens(["a cat"]) == encoder.count_tokens(["a cat"])


def test_bound_buffers_give_what_a_plain_run_gives():
    session = OnnxSession(bundled_folder() / "model.onnx", "cpu", threads=1)
    ids, mask = np.array([[101, 4937, 102], [101, 102, 0]]), np.array([[1, 1, 1], [1, 1, 0]])
    bound = session.run_bound({"input_ids": ids, "attention_mask": mask})
    np.testing.assert_array_equal(bound, session.run(ids, mask))


@pytest.fixture
def cuda_claimed(monkeypatch):
    """onnxruntime says that it has CUDA, and can't load it, as its GPU build does on a machine without a GPU."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    claimed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: claimed)


def test_a_machine_whose_cuda_does_not_work_embeds_on_the_cpu_and_says_so(cuda_claimed, encoder, caplog):
    automatic = OnnxEncoder(bundled_folder())
    np.testing.assert_array_equal(automatic.encode(["a cat"]), encoder.encode(["a cat"]))
    assert automatic.device == "cpu"
    assert "cuda can't be used" in caplog.text


def test_cuda_that_was_asked_for_and_does_not_work_is_an_error(cuda_claimed):
    with pytest.raises(SettingsError, match="sees no GPU.*nvidia-smi"):
        OnnxEncoder(bundled_folder(), EncoderOptions(device="cuda")).encode(["a cat"])


def test_cuda_asked_of_a_build_without_it_is_an_error(monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(MissingExtra, match=r"ragsaver\[gpu\]"):
        load_encoder(EmbeddingSettings(device="cuda")).encode(["a cat"])


@pytest.mark.parametrize("setting", [{"backend": "sentence-transformers"}, {"precision": "float16"}], ids=str)
def test_the_bundled_model_is_run_as_it_is_or_not_at_all(setting):
    with pytest.raises(SettingsError, match="the bundled model"):
        load_encoder(EmbeddingSettings(**setting))
