"""Promises of the vocabulary of terms: usual spellings are read, a doubt is never leave, a refusal never passes."""

import pyarrow as pa
import pytest

from anchorface.records.terms import (
    CONSENTS,
    LICENCES,
    allowed_rows,
    allows,
    count_terms,
    term,
    understood,
    withdrawn_rows,
)

CONSENT = {
    "granted": ["granted", "Given", "yes", "True", "1", "signed 2026-03", "signed, paper form", "written",
                "by contract", "synthetic", "signed 05 May 2026", "consent: yes", "model released", "erteilt", "oui",
                "sí", "signé"],
    "withdrawn": ["withdrawn", "Withdrawn 2026-05-01", "consent withdrawn by letter, see file 7", "revoked", "no",
                  "False", "0", "opted out", "opt-out", "given, then revoked", "widerrufen", "Zurückgezogen", "non",
                  "retiré", "revocado", "refused", "expired"],
    "unknown": ["", "unknown", "n/a", "maybe", "signed?", "not signed", "unsigned", "no consent", "not withdrawn",
                "may be withdrawn at any time", "granted for research only", "granted until 2027", "pending", "asked"],
}
LICENCE = {
    "CC-BY": ["CC BY 4.0", "cc-by-4.0", "CC_BY", "https://creativecommons.org/licenses/by/4.0/", "Attribution License",
              "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)", "CC BY 2.0 DE",
              "Creative Commons Attribution 4.0 International"],
    "CC-BY-SA": ["CC-BY-SA-3.0", "Creative Commons Attribution-ShareAlike 3.0 Unported"],
    "CC-BY-NC": ["cc by-nc 2.0", "Attribution-NonCommercial License", "Creative Commons Attribution-Non Commercial"],
    "CC-BY-NC-SA": ["http://creativecommons.org/licenses/by-nc-sa/2.0/",
                    "Attribution-NonCommercial-ShareAlike License"],
    "CC-BY-NC-ND": ["cc-by-nc-nd-3.0-igo"], "CC-BY-ND": ["Attribution-NoDerivs License"],
    "CC0": ["CC0", "cc0-1.0", "CC0 1.0 Universal", "https://creativecommons.org/publicdomain/zero/1.0/",
            "Public Domain Dedication (CC0)", "CC Zero"],
    "public-domain": ["Public domain", "PUBLIC DOMAIN MARK", "https://creativecommons.org/publicdomain/mark/1.0/",
                      "United States Government Work", "gemeinfrei", "domaine public", "PD-old-70"],
    "own": ["own", "Own work", "mine", "eigenes Werk"],
    "research": ["research only", "non-commercial research", "for academic use"],
    "reserved": ["All rights reserved", "© 2020 somebody. All rights reserved.", "alle Rechte vorbehalten"],
    "unknown": ["", "unknown", "by", "CC", "MIT", "not public domain", "CC BY 4.0 or another", "CC-BY-ND-SA",
                "not https://creativecommons.org/licenses/by/4.0/", "signed 2026-03"],
}
SPELLINGS = [(column, words, name) for column, table in (("consent", CONSENT), ("licence", LICENCE))
             for name, spellings in table.items() for words in spellings]


@pytest.mark.parametrize(("column", "words", "name"), SPELLINGS)
def test_usual_spellings_are_read_and_a_doubt_is_unknown(column: str, words: str, name: str) -> None:
    assert term(column, words) == name and name in (CONSENTS if column == "consent" else LICENCES)
    assert understood(column, words) == (name != "unknown" or words in ("", "unknown", "n/a"))


def test_a_class_the_words_themselves_or_commercial_use_is_allowed_and_nothing_else() -> None:
    assert allows("licence", ["commercial"], "cc-by-4.0") and not allows("licence", ["commercial"], "CC BY-NC 4.0")
    assert allows("licence", ["CC-BY"], "CC BY 2.0") and not allows("licence", ["CC-BY"], "CC BY-SA 2.0")
    assert allows("licence", ["house rules"], "house rules") and not allows("licence", ["house rules"], "House rules 2")
    assert allows("consent", ["granted"], "signed 2026-03") and not allows("consent", ["granted"], "signed?")
    assert allows("source", ["album"], "album") and not allows("source", ["album"], "Album 2")
    assert allows("consent", ["unknown"], None) and not allows("licence", ["commercial"], None)


def test_what_was_withdrawn_is_allowed_to_nobody() -> None:
    for words in CONSENT["withdrawn"]:
        assert not allows("consent", [words, "withdrawn", "granted", "unknown"], words)


def test_columns_are_read_by_their_words() -> None:
    column = pa.chunked_array([["signed 2026-03", None], ["revoked", "signed 2026-03"]])
    assert allowed_rows(column, "consent", ["granted"]).to_pylist() == [True, False, False, True]
    assert allowed_rows(column, "consent", ["unknown"]).to_pylist() == [False, True, False, False]
    assert withdrawn_rows(column).to_pylist() == [False, False, True, False]
    assert count_terms("consent", {"signed 2026-03": 2, "yes": 3, "odd": 1}) == {"granted": 5, "unknown": 1}
