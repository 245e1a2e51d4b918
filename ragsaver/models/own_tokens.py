"""The tokenizer of a language model, where it is on this machine: nothing is ever downloaded.

Of tiktoken's encodings the files are taken that it keeps in its cache (`TIKTOKEN_CACHE_DIR`); their addresses, digests
and patterns are its own. Other models have a `tokenizer.json`.
"""

import base64
import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any

from ragsaver.errors import MissingExtra, SettingsError
from ragsaver.models.counting import TokenCounts
from ragsaver.settings import AUTO_TOKENIZER, SHIPPED_TOKENIZER, environment

Count = Callable[[Sequence[str]], list[int]]

_FOLDERS = ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
_USUAL_FOLDER = "data-gym-cache"  # of the temporary files, where tiktoken keeps them unless a variable says otherwise
_MAKERS = ("openai/",)  # that proxies put before a model's name


@dataclass(frozen=True, slots=True)
class OwnTokens:
    """A tokenizer: what people call it, and the tokens that it makes of each of some texts."""

    name: str
    count: Count


class _NotHere(Exception):
    """The file of an encoding is not on this machine."""


def own_tokens(model: str, wanted: str = AUTO_TOKENIZER) -> OwnTokens | None:
    """The tokenizer of a model; None where only the shipped one is there.

    :param model: as its endpoint knows it.
    :param wanted: `auto` takes tiktoken's for this name if it is there, `shipped` none; else a `tokenizer.json` or its
        folder, or the name of one of tiktoken's encodings.
    :raises SettingsError: if what is wanted by name is not there.
    :raises MissingExtra: if it is an encoding, and tiktoken is not installed.
    """
    if wanted == SHIPPED_TOKENIZER:
        return None
    if wanted == AUTO_TOKENIZER:
        return _by_name(model)
    path = Path(wanted).expanduser()
    if wanted.endswith(".json") or path.is_dir():
        return _of_file(path / "tokenizer.json" if path.is_dir() else path)
    try:
        return _encoding(wanted, _folder())
    except ImportError:
        raise MissingExtra(
            f"`{wanted}` is read as one of tiktoken's encodings, and tiktoken is not installed",
            where=_where(model),
            remedy="pip install 'ragsaver[tiktoken]', or name a tokenizer.json",
        ) from None
    except (LookupError, ValueError) as error:
        raise SettingsError(
            f"`{wanted}` is no tokenizer.json and none of tiktoken's encodings",
            where=_where(model),
            remedy=str(error.args[0]),
        ) from None
    except _NotHere as error:
        raise SettingsError(
            f"the file of `{wanted}` is not on this machine, and none is downloaded: {error}",
            where=_where(model),
            remedy='Put it there (once, where there is a network: `python -c "import tiktoken; '
            f"tiktoken.get_encoding('{wanted}')\"` with the same TIKTOKEN_CACHE_DIR), or set `tokenizer: auto`",
        ) from None


def _by_name(model: str) -> OwnTokens | None:
    try:
        from tiktoken.model import encoding_name_for_model

        name = model
        for maker in _MAKERS:
            name = name.removeprefix(maker)
        return _encoding(encoding_name_for_model(name), _folder())
    except (ImportError, LookupError, ValueError, _NotHere):
        return None


def _folder() -> Path:
    for name in _FOLDERS:
        if (given := environment(name)) is not None:
            return Path(given)
    return Path(tempfile.gettempdir()) / _USUAL_FOLDER


@lru_cache(maxsize=8)
def _of_file(file: Path) -> OwnTokens:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises nothing narrower
        raise SettingsError(
            f"is no tokenizer that can be read: {error}",
            where=str(file),
            remedy="Name the model's own tokenizer.json, or its folder, as its `tokenizer`",
        ) from None
    return OwnTokens(str(file), TokenCounts(tokenizer))


@lru_cache(maxsize=8)
def _encoding(name: str, folder: Path) -> OwnTokens:
    """One of tiktoken's encodings, made by its own constructor with another reader in it: a file or nothing.

    :raises LookupError: if there is none of that name.
    """
    import tiktoken
    from tiktoken import registry

    known = registry.list_encoding_names()
    if name not in known:
        raise LookupError(f"It knows {', '.join(sorted(known))}")
    made = (registry.ENCODING_CONSTRUCTORS or {})[name]

    def ranks(address: str, expected_hash: str | None = None) -> dict[bytes, int]:
        return _ranks(folder, address, expected_hash)

    def none_of_these(**files: object) -> Any:
        raise _NotHere("it is in a format that is not read here")

    space: dict[str, Any] = {**made.__globals__}
    for key, one in made.__globals__.items():
        if isinstance(one, FunctionType) and one.__globals__ is made.__globals__:
            space[key] = FunctionType(one.__code__, space, key, one.__defaults__, one.__closure__)
    space.update(load_tiktoken_bpe=ranks, data_gym_to_mergeable_bpe_ranks=none_of_these)
    encoding = tiktoken.Encoding(**FunctionType(made.__code__, space, name, made.__defaults__, made.__closure__)())

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoding.encode_ordinary(text)) for text in texts]

    return OwnTokens(f"tiktoken's {name}", count)


def _ranks(folder: Path, address: str, expected_hash: str | None) -> dict[bytes, int]:
    file = folder / hashlib.sha1(address.encode()).hexdigest()  # as tiktoken names it
    try:
        data = file.read_bytes()
    except OSError:
        raise _NotHere(str(file)) from None
    if expected_hash is not None and hashlib.sha256(data).hexdigest() != expected_hash:
        raise _NotHere(f"{file} is not the file that tiktoken expects")
    pairs = (line.split() for line in data.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def _where(model: str) -> str:
    return f"`tokenizer` of {model}"
