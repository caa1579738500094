"""The terms under which a photograph is here: what people wrote of consent and licence, as a small vocabulary.

In: words as a sidecar has them (`signed 2026-03`, `https://creativecommons.org/licenses/by/4.0/`). Out: a class of
CONSENTS or LICENCES. Tables keep the words, and the class follows from them wherever it is asked, so tables of any age
have one. What is not understood whole is `unknown`: a text is never taken for leave because a part of it looks so, and
a text that withdraws needs no other part. Read are English, German, French, Spanish, Italian and SPDX names (our
choice).
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

UNKNOWN, GRANTED, WITHDRAWN, COMMERCIAL = "unknown", "granted", "withdrawn", "commercial"
CONSENTS = (GRANTED, WITHDRAWN, UNKNOWN)
"""granted: the person agreed, or none is shown (`synthetic`). withdrawn: the person took it back or refused."""

LICENCES: Mapping[str, bool] = {
    "public-domain": True, "CC0": True, "CC-BY": True, "CC-BY-SA": True, "CC-BY-ND": True, "CC-BY-NC": False,
    "CC-BY-NC-SA": False, "CC-BY-NC-ND": False, "own": True, "research": False, "reserved": False, UNKNOWN: False,
}
"""Class -> whether commercial use is allowed. own: the curator's own photographs; reserved: all rights reserved."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NOTHING = _words("unknown unbekannt inconnu desconocido sconosciuto none null na nan unspecified unset")
_YES = _words("yes y true 1 ja oui si vrai")
_NO = _words("no n false 0 nein non nao faux")
_GIVEN = _words(
    "granted given signed written agreed accepted approved consented obtained confirmed authorised authorized "
    "permitted released synthetic contract "
    "erteilt gegeben unterschrieben eingewilligt zugestimmt schriftlich accorde donne signe obtenu ecrit "
    "concedido otorgado dado firmado escrito concesso firmato dato scritto")
_TAKEN_BACK = _words(
    "withdrawn withdrew withdraws revoked rescinded retracted refused declined denied rejected objected optout expired "
    "cancelled canceled "
    "widerrufen zuruckgezogen abgelehnt verweigert abgelaufen retire revoque refuse annule "
    "retirado revocado rechazado denegado revocato ritirato rifiutato negato")
_DOUBT = _words(
    "not no never none without unless until if may can could might pending requested asked maybe "
    "nicht nie kein keine ohne kann darf pas jamais sans peut sin nunca puede senza mai puo")
_BESIDE = _words(
    "consent permission release form model status by on in of the a at to from via file paper letter email mail phone "
    "verbal verbally person subject and full all use uses "
    "january february march april june july august september october november december "
    "jan feb mar apr jun jul aug sep sept oct nov dec "
    "einwilligung zustimmung einverstandnis am vom per consentement le consentimiento el consenso il")
_ASKED = _words(
    "consent status permission release einwilligung zustimmung consentement consentimiento consenso")
_IN_MAY = re.compile(r"\b(?:\d+ may|may \d+)\b")

_CC_URL = re.compile(r"(?:https?://)?(?:www\.)?creativecommons\.org/(?:licenses|publicdomain)/([a-z0-9-]+)[^\s)>]*")
_CC_OF_URL = {"zero": "CC0", "mark": "public-domain", "publicdomain": "public-domain"}
_CC_NAMES = (
    ("non commercial", "nc"), ("noncommercial", "nc"), ("no derivatives", "nd"), ("no derivative works", "nd"),
    ("no derivs", "nd"), ("noderivatives", "nd"), ("noderivs", "nd"), ("share alike", "sa"), ("sharealike", "sa"),
    ("creative commons", "cc"), ("cc zero", "cc0"), ("cc 0", "cc0"), ("attribution", "cc by"),
)
_CC_BESIDE = _words(
    "cc license licence licensed under the international intl int unported generic universal deed version v igo "
    "us uk de fr nl au at es it jp eng")
_SAID: Mapping[str, tuple[str, ...]] = {
    "CC0": ("cc0", "public domain dedication cc0", "public domain cc0", "cc0 public domain", "cc0 public domain "
            "dedication", "cc0 no rights reserved"),
    "public-domain": (
        "public domain", "public domain mark", "public domain work", "pd", "pdm", "pd old", "pd us", "pd art",
        "pd self", "pd usgov", "cc pdm", "cc pddc", "public domain dedication", "no known copyright",
        "no known copyright restrictions", "no copyright", "united states government work", "us government work",
        "gemeinfrei", "domaine public", "dominio publico", "dominio pubblico", "pubblico dominio", "publiek domein"),
    "own": ("own", "own work", "own works", "own photo", "own photos", "own photograph", "own photographs", "my own",
            "my own work", "mine", "self", "self made", "eigen", "eigene", "eigenes werk", "eigene fotos",
            "eigene aufnahme", "travail personnel", "oeuvre personnelle", "propre", "obra propia", "trabajo propio",
            "opera propria"),
    "reserved": ("copyright", "copyrighted", "proprietary"),
}
_CLASS_OF_TEXT = {text: name for name, texts in _SAID.items() for text in texts}
_RESERVED = re.compile(
    r"\b(all rights reserved|rights reserved by|alle rechte vorbehalten|tous droits reserves|"
    r"todos los derechos reservados|tutti i diritti riservati)\b")
_RESEARCH = _words("research academic educational education noncommercial nc study studies")
_RESEARCH_BESIDE = _words("only use uses purpose purposes for and or scientific license licence")


def term(column: str, words: str | None) -> str:
    """The class of what was said.

    Args:
        column: `consent` or `licence`; any other column's words (`source`) are their own class.
        words: as written; None, empty and `unknown` say nothing.
    """
    if column == "consent":
        return _consent(words or "")
    return _licence(words or "") if column == "licence" else words or UNKNOWN


def understood(column: str, words: str | None) -> bool:
    """Whether the words are understood, or say nothing that could be."""
    return term(column, words) != UNKNOWN or column not in ("consent", "licence") or _says_nothing(words or "")


def allows(column: str, allowed: Iterable[str], words: str | None) -> bool:
    """Whether words are among what is allowed: the words themselves letter by letter, their class, or for a licence
    `commercial`, any class that allows commercial use. Consent that was withdrawn is never allowed."""
    found = term(column, words)
    if column == "consent" and found == WITHDRAWN:
        return False
    names = {name.casefold() for name in allowed}
    commercial = column == "licence" and COMMERCIAL in names and LICENCES[found]
    return (words or UNKNOWN) in allowed or found.casefold() in names or commercial


def allowed_rows(values: pa.ChunkedArray, column: str, allowed: Iterable[str]) -> pa.ChunkedArray:
    """Which rows of a column of words are among what is allowed, bool [N]; see `allows`."""
    return _rows(values, [words for words in pc.unique(values).to_pylist() if allows(column, tuple(allowed), words)])


def withdrawn_rows(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which rows of a column `consent` are withdrawn, bool [N]."""
    return _rows(values, [words for words in pc.unique(values).to_pylist() if term("consent", words) == WITHDRAWN])


def count_terms(column: str, counts: Mapping[str, int]) -> dict[str, int]:
    """Words -> number, as a Manifest has them, summed by class."""
    found: dict[str, int] = {}
    for words, number in counts.items():
        name = term(column, words)
        found[name] = found.get(name, 0) + number
    return dict(sorted(found.items()))


def _rows(values: pa.ChunkedArray, chosen: list[str | None]) -> pa.ChunkedArray:
    return pc.is_in(values, value_set=pa.array(chosen, values.type))


def _plain(text: str) -> str:
    """Lower case, without accents, single spaces for everything but letters and digits; `4.0` becomes `4 0`."""
    letters = unicodedata.normalize("NFKD", text.casefold()).replace("ß", "ss")
    return " ".join(re.findall(r"[^\W_]+", "".join(one for one in letters if not unicodedata.combining(one))))


def _says_nothing(words: str) -> bool:
    return set(_plain(words).split()) <= _NOTHING or _plain(words) == "n a"


@lru_cache(maxsize=4096)
def _consent(words: str) -> str:
    found = _IN_MAY.sub("", _plain(words)).split()
    if found and set(found[:-1]) <= _ASKED and found[-1] in _YES | _NO:
        return GRANTED if found[-1] in _YES else WITHDRAWN
    said = set(found)
    if "?" in words or said & _DOUBT:
        return UNKNOWN
    if said & _TAKEN_BACK or {"opted", "out"} <= said or {"opt", "out"} <= said:
        return WITHDRAWN
    left = {word for word in said - _GIVEN - _BESIDE if not word.isdigit()}
    return GRANTED if said & _GIVEN and not left else UNKNOWN


@lru_cache(maxsize=4096)
def _licence(words: str) -> str:
    urls = {_CC_OF_URL.get(code) or f"CC-{code.upper()}" for code in _CC_URL.findall(words.casefold())}
    if urls:
        beside = _CC_URL.sub("", words.casefold())
        urls |= {_licence(beside)} if _plain(beside) else set()
        return next(iter(urls)) if len(urls) == 1 and urls <= LICENCES.keys() else UNKNOWN
    text = _plain(words)
    if _RESERVED.search(text):
        return "reserved"
    for name, short in _CC_NAMES:
        text = re.sub(rf"\b{name}\b", short, text)
    text = " ".join(word for word in text.split() if not word.isdigit())
    found = set(text.split())
    parts = found - _CC_BESIDE
    if "cc" in found and "by" in parts and parts <= {"by", "nc", "nd", "sa"}:
        name = "-".join(["CC", *(part for part in ("BY", "NC", "ND", "SA") if part.lower() in parts)])
        return name if name in LICENCES else UNKNOWN
    bare = " ".join(word for word in text.split() if word not in ("license", "licence", "the", "universal"))
    if bare in _CLASS_OF_TEXT:
        return _CLASS_OF_TEXT[bare]
    return "research" if found & _RESEARCH and found <= _RESEARCH | _RESEARCH_BESIDE else UNKNOWN
