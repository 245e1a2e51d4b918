"""Which encoding makes words of a language out of bytes? Those for Latin letters differ in a few signs only.

A detector that looks at signs alone reads Hungarian as Western European with odd accents. A language knows better: its
letters are few, and its most frequent words are known.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

_RARE = ("mac_roman", "cp850", "cp852")
# How much better than Western European an encoding must fit to be taken: rare ones must fit far better.
_HANDICAP = {
    "cp1252": 0.0,
    "cp1250": 0.06,
    "iso8859_2": 0.07,
    "cp1254": 0.06,
    "cp1257": 0.06,
    "iso8859_15": 0.06,
    **dict.fromkeys(_RARE, 0.25),
}
# The one that signs alone tell.
_TOLD = 0.03
# As a detector names them that finds Latin letters.
_LATIN = re.compile(
    r"cp(?:125[0247]|437|775|85\d|86\d|1140|037|500)|iso8859_(?:[12349]|1[03456])|latin_1|mac_(?!cyr|greek).*"
)
_WORD = re.compile(r"[^\W\d_]+")
# What stands in texts of any language, but not in the middle of a word, and some of it at no word.
_SIGNS = frozenset("€£¥¦§¶°·–—‘’‚“”„«»‹›…•©®™²³½¼×±µ\u00a0\u00ad")
_IN_WORD = re.compile(
    r"(?<=[^\W\d_])[^\w\s'’\u00ad\x00-\x7f](?=[^\W\d_])|(?<=[^\W\d_])[¥¦¶¼½]|[¥¦¶¼½](?=[^\W\d_])",
)
# Letters of other scripts stand side by side; an accent among ASCII is one of few.
_SIDE_BY_SIDE = re.compile(rb"[\x80-\xff]{2}")
_AT_LEAST = 0.5
# Frequent words count so much, against the share of letters that the language has; few words count less.
_WORDS_WEIGHT = 2.0
_FEW_WORDS = 8


class _Language(NamedTuple):
    letters: frozenset[str]
    words: frozenset[str]


def _language(letters: str, words: str) -> _Language:
    return _Language(frozenset(letters), frozenset(words.split()))


# Letters beyond ASCII, and frequent words.
_LANGUAGES = (
    _language("éèêïöç", "the of and to in is that for it with as was on be by this are not or from at which a"),
    _language("äöüß", "der die das und ist nicht ein eine mit von für auf den dem des sich werden wird im zu es in"),
    _language("àâæçéèêëîïôœùûüÿ", "le la les et est des une un que qui dans pour pas sur au du avec par ce à de en y"),
    _language("áéíñóúü¿¡ªº", "el la los las y es que de en un una por con para no se del lo su como más está a o al"),
    _language("áâãàçéêíóôõúüªº", "o os as e é que de em um uma por com para não se do da no na mais dos ao a à os"),
    _language("àèéìîòóùªº", "il lo la i gli e è che di in un una per con non si del della più sono a ora al le"),
    _language("àçèéíïòóúü", "el la els les i és que de en un una per amb no es del al com més a o"),
    _language("åäöé", "och att det är som en på av för inte med den till har om ett i vid från kan"),
    _language("åæøéè", "og at det er som en på af av for ikke med den til har der i fra kan et"),
    _language("åäöšž", "ja on ei että se oli hän mutta kun niin ovat myös joka tai"),
    _language("éëïóüèêö", "de het een en van is niet dat op te met voor zijn in aan door"),
    _language("áðéíóúýþæö", "og að er í á sem ekki með til var um það við af"),
    _language("áéíóú", "agus an na ar is le ní go bhfuil i de sa tá nach"),
    _language("ñçü", "eta da ez bat du dago ere zuen edo baina hau ezin"),
    _language("ëç", "e të dhe në për me nuk një nga i që si ka u më"),
    _language("áéíóöőúüű", "a az és hogy nem is egy van meg ez de kell már csak volt vagy s ha"),
    _language("ąćęłńóśźż", "i w nie się na jest że do z to jak o ale za co po przez przy lub a dla od"),
    _language("áčďéěíňóřšťúůýž", "a je se na v že to s z i do jako ale by od pro za jsou nebo k o u ve"),
    _language("áäčďéíĺľňóôŕšťúýž", "a je sa na v že to s z do ako ale by od pre za sú alebo k o u vo i"),
    _language("ăâîșțşţ", "şi și în de la nu este pentru care din cu pe un o ce mai se va că a"),
    _language("čćđšž", "i je u se na da su za od s kao a ne bi ili iz koji će o"),
    _language("čšž", "in je v se na da so za od z kot ki ne bi ali tudi pri ni"),
    _language("çğıöşüâî", "ve bir bu da de için ile olarak daha çok gibi olan ne ya en"),
    _language("äõöüšž", "ja on ei et see oli ka mis kui ning või"),
    _language("āčēģīķļņšūž", "un ir uz ar no ka par kas tas bija vai nav"),
    _language("ąčęėįšųūž", "ir yra kad iš su apie bet kaip į tai ar nėra"),
)  # fmt: skip


def by_language(sample: bytes, found: Sequence[str]) -> list[str]:
    """Encodings that text may be in, the one that makes most sense of it first.

    :param found: as signs alone tell them, the likeliest first; stays as it is where that is of another script, or no
        other one fits clearly better.
    """
    latin = bool(found) and _LATIN.fullmatch(found[0]) is not None
    if not found or not (latin or _SIDE_BY_SIDE.search(sample) is None):
        return list(found)
    fits: dict[str, float] = {}
    for name in dict.fromkeys((*(name for name in _HANDICAP if latin or name not in _RARE), found[0])):
        if (text := _decoded(sample, name)) is not None:
            handicap = _HANDICAP.get(name, _TOLD)
            fits[name] = _fit(text) - (min(handicap, _TOLD) if name == found[0] else handicap)
    best = max(fits, key=fits.__getitem__, default=found[0])
    return list(dict.fromkeys((best, *found))) if fits.get(best, 0.0) >= _AT_LEAST else list(found)


def _decoded(sample: bytes, encoding: str) -> str | None:
    try:
        return sample.decode(encoding)
    except UnicodeDecodeError:
        return None


def _fit(text: str) -> float:
    """How well a text is one of a language: by the share of its signs beyond ASCII that the language has, and of its
    words that are frequent there.
    """
    lower = text.lower()
    signs = Counter(sign for sign in lower if sign > "\x7f")
    beyond = max(1, signs.total())
    usual = sum(signs[sign] for sign in _SIGNS) - len(_IN_WORD.findall(text))
    words = Counter(_WORD.findall(lower))
    count = words.total() + _FEW_WORDS

    def fit(language: _Language) -> float:
        known = usual + sum(signs[letter] for letter in language.letters)
        frequent = sum(words[word] for word in language.words)
        return known / beyond + _WORDS_WEIGHT * frequent / count

    return max(map(fit, _LANGUAGES))
