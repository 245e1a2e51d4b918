"""Does the evidence hold an answer's words, in a language that bends and joins them, or writes without spaces?

English is compared by its stems elsewhere. Other languages are told by what they show: how many words are English small
words, how many long ones begin with a capital, which script they are in.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator

from ragsaver.sentences import STOP_WORDS

GRAMS_FROM = 0.3  # share of a sentence's character groups that must stand in the evidence
FEWEST_GRAMS = 6  # with fewer, a single word would decide

_ENGLISH_FROM = 0.2  # English prose has 0.35 to 0.5 of its words in the stop words, others have below 0.13
_NOUNS_FROM = 0.35  # German prose has about half of its long words in capitals, French or Spanish a sixth
_LONG = 4  # letters

_WORD = re.compile(r"[^\W\d_]+")
_BEGINS = re.compile(r"(?:\A|[.!?:\n|*#>\"“„«(-])\W*\Z")
# By line: kana, Chinese characters, Hangul; the scripts of India, Thailand, Laos, Tibet, Burma, and Cambodia.
_PAIRS = "\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af\U00020000-\U0002fa1f"
_FOURS = "\u0900-\u109f\u1780-\u17ff"
_RUN = re.compile(rf"([{_PAIRS}]+)|([{_FOURS}]+)")
_KANA_PAIR = re.compile("[\u3041-\u309f]{2}")  # of endings and particles: it says nothing
_ENDING = re.compile(r"(?<=\w{4})(?:en|er|es|em|e|n|s)\Z")
_SAME_END = 9  # letters: `Genehmigung`, and no mere ending such as `lichkeit`
# Small words of four letters and more: German, Dutch, French, Spanish, Italian, Portuguese.
_SMALL = frozenset(
    """aber alle allem allen aller alles also auch beim dabei dadurch dafür damit dann darf dass dein deine denn deren
    dessen dies diese diesem diesen dieser dieses doch dort durch dürfen eine einem einen einer eines etwa euch für
    gegen haben hatte hier ihnen ihre ihrem ihren ihrer immer jede jedem jeden jeder jedes kann kein keine können mehr
    mein meine muss müssen nach nicht noch nur oder ohne sehr sein seine seit sich sich sind soll sollen sonst sowie
    über unser unter viel vom wann warum weil welche welcher wenn werden wird wollen worden wurde wurden zwischen
    naar voor door deze zijn wordt worden niet ook maar meer werd heeft hebben
    afin ainsi alors aussi autre autres avant avec avez avoir cela celle celui cette ceux chaque chez comme comment
    dans depuis donc dont elle elles encore entre est être faire fait leur leurs lorsque mais même nous notre ont
    pendant peut peuvent plus pour pouvez quand quel quelle sans sera seront ses sinon soit sont sous sur toujours tous
    tout toute toutes très une vers votre vous
    algo ante antes aquí como con contra cual cuando cuál debe deben desde donde durante ella ellas ellos entre esta
    estas este esto estos está están hacia hasta mientras muy nada otra otro para pero porque puede pueden qué quien
    según sino sobre sólo también tiene tienen toda todas todo todos una
    anche ancora come dalla dalle dallo degli della delle dello deve devono dopo essere hanno loro nella nelle nello
    ogni oppure perché però possono prima può quale quando quella quello questa questo sempre senza sono sulla tutti
    tutto una até cada com depois dela dele deles essa esse estão isso mais mesmo muito não nas nos ou para pela pelo
    pode podem quem sem seu sua são também tem uma você""".split()
)

# Numbers from zero on: English, German, French, Spanish, Italian, Chinese.
SPELT = [
    names.split()
    for names in (
        "zero one two three four five six seven eight nine ten eleven twelve",
        "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
        "zéro un deux trois quatre cinq six sept huit neuf dix onze douze",
        "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce",
        "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici",
        "〇 一 二 三 四 五 六 七 八 九 十",
    )
]


def is_english(texts: Iterable[str]) -> bool:
    """Whether enough of the words are those that every English text has."""
    words = [word.lower() for text in texts for word in _WORD.findall(text)]
    return not words or sum(word in STOP_WORDS for word in words) >= _ENGLISH_FROM * len(words)


def capitalises_nouns(texts: Iterable[str]) -> bool:
    """Whether a capital within a sentence says no more than that the word is a noun, as in German."""
    long = [word[0].isupper() for text in texts for word in _within(text) if len(word) >= _LONG]
    return sum(long) >= _NOUNS_FROM * len(long) if long else False


def is_small(word: str) -> bool:
    """Whether it has a capital out of politeness or at a beginning only, as far as can be told."""
    return len(word) < _LONG or word.casefold() in _SMALL


def spaced(text: str) -> str:
    """The words that have spaces between them; `groups` sees the rest."""
    return text if text.isascii() else _RUN.sub(" ", text)


def groups(text: str) -> set[str]:
    """Pairs of neighbouring characters where a character is a syllable or a word, fours where it is a letter."""
    if text.isascii():
        return set()
    found: set[str] = set()
    for pairs, fours in _RUN.findall(text):
        run, size = (pairs, 2) if pairs else (fours, 4)
        found.update(run[at : at + size] for at in range(len(run) - size + 1))
    return {group for group in found if not _KANA_PAIR.fullmatch(group)}


def content_words(text: str) -> set[str]:
    """The words of another language than English that carry meaning, and numbers."""
    words = re.findall(r"[^\W_]+", text.casefold())
    return {word for word in words if word.isdecimal() or (len(word) >= _LONG and word not in _SMALL)}


class Vocabulary:
    """The words of the evidence, to be met again bent or joined.

    :param words: in small letters.
    """

    def __init__(self, words: Collection[str]) -> None:
        self._words = frozenset(map(_bare, words))
        self._trunks: dict[str, set[str]] = {}
        for trunk in (_trunk(word) for word in self._words if len(word) >= _LONG):
            for end in _ends(trunk):
                self._trunks.setdefault(end, set()).add(trunk)

    def holds(self, word: str) -> bool:
        """Whether the word is there, or one that differs in its ending only, or is a part of it or has it as a part."""
        bare = _bare(word.casefold())
        if bare in self._words:
            return True
        if len(bare) < _LONG or not bare.isalpha():
            return False
        trunk = _trunk(bare)
        return any(_akin(trunk, other) for end in _ends(trunk) for other in self._trunks.get(end, ()))


def _akin(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if long.endswith(short) or (len(short) > _LONG and long.startswith(short)):
        return True
    same = _same(one, other)
    return same >= max(_LONG, len(long) - 2) or _same(one[::-1], other[::-1]) >= _SAME_END


def _ends(trunk: str) -> tuple[str, str]:
    """What two that are akin have in common, one or the other."""
    return trunk[:_LONG], f"-{trunk[-_LONG:]}"


def _same(one: str, other: str) -> int:
    """How many letters are the same at the beginning."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _trunk(word: str) -> str:
    return _ENDING.sub("", word)


def _bare(word: str) -> str:
    """Without accents: `ausführen` is of `Ausfuhr`."""
    if word.isascii():
        return word
    return "".join(one for one in unicodedata.normalize("NFKD", word) if not unicodedata.combining(one))


def _within(text: str) -> Iterator[str]:
    """The words that begin no sentence, item, cell or quotation."""
    for word in _WORD.finditer(text):
        if not _BEGINS.search(text, max(0, word.start() - 8), word.start()):
            yield word.group()
