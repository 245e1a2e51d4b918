"""A model that onnxruntime and sentence-transformers can both run."""

import string
import warnings

import pytest

from ragsaver.models import onnx_encoder, onnx_session


@pytest.fixture(autouse=True)
def opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """How a model is opened is the subject here: none lasts from another test."""
    monkeypatch.setattr(onnx_encoder, "open_on_best", onnx_session.open_on_best)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A small BERT with random weights: a SentenceTransformer, and a folder that either back end runs."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]))
    tokenizer = BertTokenizerFast(vocab=str(vocabulary))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    model = BertModel(BertConfig(vocab_size=len(tokenizer), **shape), add_pooling_layer=False).eval()
    model.save_pretrained(folder)

    class TokenVectors(torch.nn.Module):
        def forward(self, input_ids, attention_mask, token_type_ids):
            given = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
            return self.bert(**given).last_hidden_state

        def __init__(self):
            super().__init__()
            self.bert = model

    example = torch.ones((2, 5), dtype=torch.int64)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            TokenVectors(),
            (example, example, torch.zeros_like(example)),
            str(folder / "model.onnx"),
            input_names=names,
            output_names=["last_hidden_state"],
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in [*names, "last_hidden_state"]},
            dynamo=False,
        )
    modules = [Transformer(str(folder), max_seq_length=64), Pooling(shape["hidden_size"]), Normalize()]
    model = SentenceTransformer(modules=modules, device="cpu")
    model.save(str(folder))
    return model, folder
