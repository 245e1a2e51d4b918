"""A model's own tokenizer counts where it is on this machine; none is ever downloaded."""

import hashlib
import sys
from pathlib import Path

import pytest
import tiktoken
import tiktoken.load
import tiktoken.model
import tiktoken.registry

from ragsaver.errors import MissingExtra, SettingsError
from ragsaver.models.own_tokens import own_tokens
from tests.tokenizer_files import bpe_file, tokenizer_json

ADDRESS = "https://models.invalid/tiny.tiktoken"
TEXTS = ["the permit", "", "Who issues the export permit?", "宪法 and a\n\ttab"]
_MODULE = """
from tiktoken.load import load_tiktoken_bpe

def tiny():
    ranks = load_tiktoken_bpe({address!r}, expected_hash={digest!r})
    return dict(name="tiny", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={{"<|end|>": len(ranks)}})

def tiny_with_more():
    base = tiny()
    return {{**base, "name": "tiny_with_more"}}

PATTERN = {pattern!r}
ENCODING_CONSTRUCTORS = {{"tiny": tiny, "tiny_with_more": tiny_with_more}}
"""
PATTERN = r" ?\p{L}+|\s+|[^\s\p{L}]+"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of tiktoken's files, with a plug-in's encoding known to tiktoken; the network fails the test."""
    code = _MODULE.format(address=ADDRESS, digest=hashlib.sha256(bpe_file()).hexdigest(), pattern=PATTERN)
    name = f"tiny_{tmp_path.name.replace('-', '_')}"
    (tmp_path / "tiktoken_ext").mkdir()
    (tmp_path / "tiktoken_ext" / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(tiktoken.registry, "ENCODING_CONSTRUCTORS", None)
    monkeypatch.setitem(tiktoken.model.MODEL_TO_ENCODING, "tiny-chat", "tiny")
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))

    def download(address: str) -> bytes:
        raise AssertionError(f"{address} was to be downloaded")

    monkeypatch.setattr(tiktoken.load, "read_file", download)
    return folder


def put(folder: Path, data: bytes | None = None) -> Path:
    file = folder / hashlib.sha1(ADDRESS.encode()).hexdigest()
    file.write_bytes(bpe_file() if data is None else data)
    return file


@pytest.mark.parametrize(("model", "wanted"), [("tiny-chat", "auto"), ("openai/tiny-chat", "auto"), ("x", "tiny")])
def test_an_encoding_that_is_here_counts_as_tiktoken_does(cache: Path, model: str, wanted: str):
    put(cache)
    found = own_tokens(model, wanted)
    assert found is not None and found.name == "tiktoken's tiny"
    assert found.count(TEXTS) == [len(tiktoken.get_encoding("tiny").encode_ordinary(text)) for text in TEXTS]
    assert found.count(["the permit"]) == [2]


def test_an_encoding_made_from_another_one_is_found_too(cache: Path):
    put(cache)
    found = own_tokens("x", "tiny_with_more")
    assert found is not None and found.count(["the permit"]) == [2]


def test_without_its_file_the_shipped_one_counts(cache: Path):
    assert own_tokens("tiny-chat") is None
    assert own_tokens("llama3.1:8b") is None
    put(cache)
    assert own_tokens("tiny-chat", "shipped") is None


@pytest.mark.parametrize("name", ["gpt2", "r50k_base", "cl100k_base", "o200k_base", "o200k_harmony", "tiny_with_more"])
def test_what_is_wanted_by_name_is_not_downloaded(cache: Path, name: str):
    with pytest.raises(SettingsError, match=f"`{name}` is not on this machine.*TIKTOKEN_CACHE_DIR"):
        own_tokens("gpt-4o", name)


def test_a_file_that_is_not_what_it_should_be_is_left_alone(cache: Path):
    file = put(cache, b"YQ== 0\n")
    assert own_tokens("tiny-chat") is None
    with pytest.raises(SettingsError, match="not the file that tiktoken expects"):
        own_tokens("x", "tiny")
    assert file.exists()


def test_a_name_that_nobody_knows_is_refused(cache: Path):
    with pytest.raises(SettingsError, match="none of tiktoken's encodings.*o200k_base"):
        own_tokens("x", "o300k")


def test_without_tiktoken_it_says_how_to_get_it(cache: Path, monkeypatch: pytest.MonkeyPatch):
    for name in [one for one in sys.modules if one.partition(".")[0] == "tiktoken"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert own_tokens("gpt-4o") is None
    with pytest.raises(MissingExtra, match=r"ragsaver\[tiktoken\]"):
        own_tokens("x", "o200k_base")


@pytest.mark.parametrize("by_folder", [True, False])
def test_a_tokenizer_json_counts(tmp_path: Path, by_folder: bool):
    file = tokenizer_json(tmp_path / "tokenizer.json", r"\S")
    found = own_tokens("x", str(tmp_path if by_folder else file))
    assert found is not None and found.count(["the permit", ""]) == [9, 0]


def test_one_that_is_none_is_named(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text("{}")
    for wanted in (tmp_path / "tokenizer.json", tmp_path / "other.json"):
        with pytest.raises(SettingsError, match=rf"{wanted.name}: is no tokenizer"):
            own_tokens("x", str(wanted))
