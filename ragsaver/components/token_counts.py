"""Which tokenizer counts for a tier? Its own where it is on this machine, else the shipped one, with a margin.

The margin (`spend.prompt_margin`) is what other tokenizers may count more; docs/how-to/count-tokens.md says what it was
measured on.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from ragsaver.components.passage_sentences import Sentences
from ragsaver.components.request import current_reader
from ragsaver.models.own_tokens import own_tokens
from ragsaver.settings import ModelSettings, Settings

if TYPE_CHECKING:
    from haystack import Document

TokenCounter = Callable[[Sequence[str]], list[int]]

SHIPPED = "the shipped tokenizer"
COUNTED = "counted"  # in a packed document's meta: its `Counted`
_NOTHING: Mapping[str, int] = MappingProxyType({})


class TierTokens:
    """How the tokens of one tier are counted.

    :param model: None where there is none: the shipped tokenizer counts.
    :param shipped: the shipped tokenizer.
    :param margin: share by which another one may count more.
    :ivar name: of the tokenizer.
    :ivar count: tokens of each of some texts; those of the shipped one where the model's own is not there.
    :ivar own: whether they are the model's own.
    :raises SettingsError: if the settings name a tokenizer that is not there.
    """

    def __init__(self, model: ModelSettings | None, shipped: TokenCounter, margin: float = 0.0) -> None:
        found = own_tokens(model.name, model.tokenizer) if model is not None else None
        self.own = found is not None
        self.name = found.name if found is not None else SHIPPED
        self.count: TokenCounter = found.count if found is not None else shipped
        self._margin = 0.0 if self.own else margin

    def most(self, texts: Sequence[str]) -> int:
        """Tokens that the model may make of all of them together: with the margin, where it has none of its own."""
        return math.ceil(sum(self.count(texts)) * (1 + self._margin))


def answering_tokens(settings: Settings, shipped: TokenCounter) -> TierTokens:
    """Those of the model that is asked first: the cheapest."""
    models = settings.generation.models
    return TierTokens(models[0] if models else None, shipped, settings.spend.prompt_margin)


class CountedTexts:
    """Remembers how many tokens texts have: the same ones come again and again. Any thread may use it.

    Each owner's are remembered apart, so that nobody is served sooner for what another one has.

    :param count: counts those that are not remembered, in one call: a call costs more than a sentence.
    :param most: texts that are remembered, of all owners together.
    """

    def __init__(self, count: TokenCounter, most: int) -> None:
        self._count = count
        self._most = most
        self._counted: dict[Hashable, dict[str, int]] = {}
        self._held = 0

    def __call__(self, texts: Sequence[str], owner: Hashable) -> list[int]:
        """The tokens of each.

        :param owner: whose texts these are.
        """
        counted = self._counted.get(owner, _NOTHING)
        lacking = [text for text in dict.fromkeys(texts) if text not in counted]
        fresh = dict(zip(lacking, self._count(lacking), strict=True)) if lacking else {}
        found = [fresh[text] if text in fresh else counted[text] for text in texts]
        if fresh and self._held + len(fresh) > self._most:
            # other dictionaries: other threads may still read the old ones
            self._counted, self._held = {owner: fresh}, len(fresh)
        elif fresh:
            self._counted.setdefault(owner, {}).update(fresh)
            self._held += len(fresh)
        return found


class CountedPassages:
    """Remembers how many tokens the sentences of passages have, with the passages: who has those, has that. Any thread
    may use it.

    :param count: counts all that are not remembered in one call: a call costs more than a sentence.
    :param name: of who counts.
    """

    def __init__(self, count: TokenCounter, name: str) -> None:
        self._count = count
        self._name = name

    def __call__(self, passages: Sequence[Sentences]) -> list[Sequence[int]]:
        """The tokens of each sentence of each passage."""
        name = self._name
        if lacking := [one for one in passages if name not in one.tokens]:
            counted = iter(self._count([sentence.text for one in lacking for sentence in one]))
            for one in lacking:
                one.tokens[name] = list(islice(counted, len(one)))
        return [one.tokens[name] for one in passages]


class Counted(NamedTuple):
    """What the shipped tokenizer counted of a text."""

    characters: int
    tokens: int


def prompt_tokens(count: TokenCounter, texts: Sequence[str], packed: Sequence["Document"]) -> int:
    """The tokens of a prompt's messages. Texts of passages that stand in it as they were packed are not counted again.

    :param count: the shipped tokenizer, by which `ContextPacker` counts.
    :param packed: what the prompt was made of.
    """
    left, known = "\n".join(texts), 0
    for one in packed:
        counted, shown = one.meta.get(COUNTED), f"\n{one.content}\n"
        # what another component cut has another length, and a document of one's own may have anything in its meta
        if isinstance(counted, Counted) and counted.characters == len(shown) - 2 and shown in left:
            left, known = left.replace(shown, "\n", 1), known + counted.tokens
    return known + count([left])[0]


def counted_for_readers(count: TokenCounter, most: int) -> TokenCounter:
    """Remembers texts of questions and conversations, those of each reader apart; the running request says who reads.

    :param count: as for `CountedTexts`.
    :param most: as for `CountedTexts`.
    """
    counted = CountedTexts(count, most)
    return lambda texts: counted(texts, current_reader())
