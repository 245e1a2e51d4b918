"""A MiniLM of random weights, as a peer: weights do not change the time. Needs the `train` extra."""

import os
from pathlib import Path
from typing import Any

# MiniLM-L6 (Wang et al. 2020): six layers of twelve heads, 384 wide.
SHAPE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}


def sentence_transformer(model: Path, folder: Path, max_tokens: int) -> Any:
    """A SentenceTransformer of MiniLM's shape that reads with the same tokenizer."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(model / "tokenizer.json"),
        unk_token="[UNK]", sep_token="[SEP]", pad_token="[PAD]", cls_token="[CLS]", mask_token="[MASK]",
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    BertModel(BertConfig(vocab_size=len(tokenizer), **SHAPE)).save_pretrained(folder)
    words = Transformer(str(folder), max_seq_length=max_tokens)
    return SentenceTransformer(modules=[words, Pooling(SHAPE["hidden_size"]), Normalize()], device="cpu")
