"""Do two questions ask the same? Nearness of their vectors is not enough: `Is 300 a lot?` is near `Is 650 a lot?`.

What must agree: numbers and dates, names, negation, words that compare or oppose, and the order of what they compare.
Where all of that does, a logistic regression over what is left (how near, which words differ, how many, how it is
asked) says how likely it is; `benchmarks/semantic_cache.py` fits it.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise

from ragsaver.sentences import STOP_WORDS, stem

# A number, a name with digits in it (`M605x`), a word, or a sign that counts.
_WORD = re.compile(r"\d+(?:[.,:/-]\d+)*(?![^\W_])|[^\W_]*\d[^\W_]*|[^\W\d_]+(?:'[^\W\d_]+)?|[%$€£+#²³½°]")
_SHORT = (
    ("can't", "can not"),
    ("won't", "will not"),
    ("n't", " not"),
    ("'m", " am"),
    ("'re", " are"),
    ("'ve", " have"),
    ("'ll", " will"),
)
_IS = re.compile(r"\b(what|who|how|where|when|why|it|that|there)'s\b")

_NUMBERS = {
    word: str(number)
    for number, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())
    if word != "one"  # which is `somebody` more often
}
_MONTHS = """january february march april june july august september october november december monday tuesday wednesday
thursday friday saturday sunday today tomorrow yesterday tonight weekend week month year day hour minute daily weekly
monthly yearly hundred thousand million billion""".split()
_NEGATION = """not no never none nothing nobody nowhere without neither nor cannot non unable except hardly
impossible illegal unlike""".split()
_OPPOSED = """more less most least better best worse worst good bad bigger smaller larger higher lower greater fewer
older younger earlier later before after above below over under first last next previous only increase decrease up down
cheaper faster slower longer shorter vs versus than top bottom maximum minimum max min advantage disadvantage advantages
disadvantages pros cons buy sell open close start stop begin end gain lose male female boy girl boys girls man woman men
women for against with from to similar different same other difference similarity differ right wrong true false left
inside outside into out on off in always sometimes import export give receive given received send sent love hate win
lose positive negative legal illegal possible impossible safe dangerous hot cold new old former current upper lower
internal external indoor outdoor add remove enable disable install uninstall allow forbid include exclude""".split()
# Of these, the ones whose change alone makes no other question: `the best in India` and `the best of India`.
_LIGHT = frozenset("for with from to on in into over first good better best most more only same other".split())
_OPPOSING = frozenset(_OPPOSED) - _LIGHT
_BINDING = frozenset(_NEGATION)
_TIMES = frozenset(_MONTHS)
_ONLY_THAT = frozenset("why when where who whose".split())
_BOTH_ENDS = frozenset(("best", "worst"))
_SOME_WAY = frozenset("how what which".split())
_ASKING = frozenset("how what why who when where which whose can could is are do does did will would should".split())
_PERSONS = {
    **dict.fromkeys("i me my myself mine".split(), "i"),
    **dict.fromkeys("you your yourself yours one".split(), "you"),
    **dict.fromkeys("we us our ourselves".split(), "we"),
    **dict.fromkeys("he him his she her hers himself herself".split(), "he"),
    **dict.fromkeys("they them their theirs themselves".split(), "they"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question taken apart.

    :ivar words: stems in order; `content` those that carry meaning.
    :ivar binding: what must be the same in a question that asks the same: numbers, dates, negation, oppositions.
    :ivar names: stems of words with a capital within the question.
    """

    words: tuple[str, ...]
    content: tuple[str, ...]
    binding: Counter[str]
    names: frozenset[str]
    opening: str
    persons: frozenset[str]
    owners: frozenset[str]


@lru_cache(maxsize=16_384)
def taken_apart(question: str, reader: Hashable) -> Asked:
    """The question's words by what they do in it.

    :param reader: who asks; nobody else is answered sooner for it.
    """
    plain = question.replace("’", "'")
    names = {
        stem(word.lower())
        for place, word in enumerate(_WORD.findall(plain))
        if place > 0 and word[:1].isupper() and word.lower() not in STOP_WORDS
    }
    text = _IS.sub(r"\1 is", plain.lower())
    for short, long in _SHORT:
        text = text.replace(short, long)
    words = [_NUMBERS.get(word, word) for word in _WORD.findall(text)]
    bound = _BINDING | _OPPOSING | _TIMES | _ONLY_THAT | (_BOTH_ENDS if "worst" in words else frozenset())
    binding = Counter(
        # a second question is one more
        _asked_for(word, follower)
        for word, follower in pairwise((*words, ""))
        if word in bound or word in _SOME_WAY or not word.isalpha()
    )
    return Asked(
        words=tuple(stem(word) for word in words),
        content=tuple(stem(word) for word in words if word not in STOP_WORDS),
        binding=binding,
        names=frozenset(names),
        opening=next((word for word in words if word in _ASKING), ""),
        persons=frozenset(_PERSONS[word] for word in words if word in _PERSONS),
        owners=frozenset(words) & {"my", "your"},
    )


def may_agree(one: Asked, other: Asked) -> bool:
    """Whether nothing says that they ask something else."""
    if one.binding != other.binding:
        return False
    if not one.names <= set(other.words) or not other.names <= set(one.words):
        return False
    if {"my", "your"} <= one.owners ^ other.owners and one.owners and other.owners:
        return False
    # `how can A win against B: what can A do` and `what can B do`
    mine, theirs = Counter(one.content), Counter(other.content)
    shared = mine.keys() & theirs.keys()
    if any(mine[word] > theirs[word] for word in shared) and any(theirs[word] > mine[word] for word in shared):
        return False
    # `how is A better than B` and `how is B better than A`
    return _kept(one.content, shared) == _kept(other.content, shared)


FEATURES = (
    "cosine",
    "above_0.9",
    "shared_content",
    "content_differs",
    "shared_words",
    "words_differ",
    "content_replaced",
    "same_opening",
    "persons_differ",
    "length_ratio",
    "longer",
    "shorter_content",
    "same_words",
)


def features(one: Asked, other: Asked, cosine: float) -> list[float]:
    """What the regression reads, as `FEATURES` names it."""
    mine, theirs = set(one.content), set(other.content)
    differing = _differing(one, other)
    total = len(set(one.words) | set(other.words)) or 1
    lengths = sorted((len(one.words), len(other.words)))
    shared = mine & theirs
    return [
        cosine,
        max(0.0, cosine - 0.9) * 10,
        len(shared) / (len(mine | theirs) or 1),
        math.log1p(len(mine ^ theirs)),
        len(set(one.words) & set(other.words)) / total,
        math.log1p(sum(differing.values())),
        float(min(len(mine - theirs), len(theirs - mine))),
        float(one.opening == other.opening),
        float(len(one.persons ^ other.persons)),
        lengths[0] / (lengths[1] or 1),
        math.log1p(lengths[1]),
        float(min(len(mine), len(theirs))),
        float(one.words == other.words),
    ]


def differing_words(one: Asked, other: Asked) -> set[str]:
    """Stems that one has and the other lacks."""
    return set(_differing(one, other))


@dataclass(frozen=True, slots=True)
class Agreement:
    """The fitted rule.

    :ivar weights: of `FEATURES`, and the intercept at the end.
    :ivar words: what it adds if a stem stands in one of the two only.
    :ivar at_least: the score from which two questions ask the same.
    :ivar cosine_at_least: below it no pair is looked at.
    """

    weights: Sequence[float]
    words: Mapping[str, float]
    at_least: float
    cosine_at_least: float

    def score(self, one: str, other: str, cosine: float, reader: Hashable = None) -> float:
        """How much speaks for it (log odds); minus infinity where something speaks against it."""
        first, second = taken_apart(one, reader), taken_apart(other, reader)
        if cosine < self.cosine_at_least or not may_agree(first, second):
            return -math.inf
        values = features(first, second, cosine)
        score = self.weights[-1] + sum(w * v for w, v in zip(self.weights, values, strict=False))
        return score + sum(self.words.get(word, 0.0) for word in differing_words(first, second))

    def holds(self, one: str, other: str, cosine: float, reader: Hashable = None) -> bool:
        """Whether they ask the same.

        :param reader: whose questions these are.
        """
        return self.score(one, other, cosine, reader) >= self.at_least


@lru_cache(maxsize=1)
def bundled_agreement() -> Agreement:
    """The rule for the bundled embedding model."""
    told = json.loads(files("ragsaver.caching").joinpath("agreement.json").read_text(encoding="utf-8"))
    return Agreement(told["weights"], told["words"], told["at_least"], told["cosine_at_least"])


def _differing(one: Asked, other: Asked) -> Counter[str]:
    mine, theirs = Counter(one.words), Counter(other.words)
    return (mine - theirs) + (theirs - mine)


def _asked_for(word: str, follower: str) -> str:
    """What stands for it among what must be the same."""
    if word in _SOME_WAY:
        # `what is the best way` asks what `how` asks; `how many` asks for a number
        return "many" if (word, follower) == ("how", "many") else "how"
    return word.replace(",", "")


def _kept(words: Sequence[str], shared: Set[str]) -> list[str]:
    """Of the words those that are shared, each where it stands first."""
    return [word for word in dict.fromkeys(words) if word in shared]
