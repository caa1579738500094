"""Identity sheets: contact sheets of the most doubtful identities, with the commands that correct them.

In: `Suspect`s of one page and what the index says of them. Out: the page's HTML. Each person: doubt, faces from the
worst fit to the best (FACES at most), doubtful ones framed, other identities that come near, commands to copy.
"""

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from anchorface.identity_index.audit.gallery import Folk, Other, folk
from anchorface.identity_index.audit.look import outside
from anchorface.identity_index.audit.ranking import Suspect
from anchorface.identity_index.audit.thumbnails import crop_picture
from anchorface.identity_index.table import IdentityIndex

FACES = 48
OTHERS = 2
OTHER_FACES = 4
NAME = re.compile(r"\bp\d{6,}\b")


def sheet(workspace: str, index: IdentityIndex, suspects: Sequence[Suspect], nearest: Mapping[str, Other],
          pages: Mapping[str, str]) -> str:
    """The people of one page.

    Args:
        workspace: as the commands shall name it.
        index: the faces.
        suspects: the identities of this page, in order.
        nearest: identity -> the other that comes nearest.
        pages: identity -> the file that shows it, for links.
    """
    parts = []
    for suspect in suspects:
        people = [folk(index, suspect.identity, suspect.doubtful)]
        others = _others(suspect, nearest.get(suspect.identity))
        people += [folk(index, other.identity) for other in others]
        shown = [_shown(people[0]), *(_typical(one) for one in people[1:])]
        crops = index.crops([row["face_id"] for rows in shown for row in rows])
        parts.append(_person(workspace, suspect, people[0], shown, [
            (other, len(one.rows)) for other, one in zip(others, people[1:], strict=True) if one.rows], crops, pages))
    return "".join(parts)


def caption(row: Mapping[str, Any], number: int | None = None) -> str:
    """What stands under a face: its place on the sheet, fit, pose, age, norm, date, licence and consent."""
    words = [] if number is None else [f"<b>{number}</b>"]
    words += [] if row.get("fit") is None else [f"fit {row['fit']:.2f}"]
    age = "age ?" if row["age"] is None else f"age {row['age']:.0f}"
    taken = "no date" if row["taken"] is None else row["taken"].isoformat()
    rights = f"{row['licence']} · consent {row['consent']}"
    yaw, pitch = round(row["yaw"]), round(row["pitch"])
    return (f'<span class="caption">{" · ".join(words)}<small>yaw {yaw:+d}° pitch {pitch:+d}°</small>'
            f"<small>{age} · norm {row['norm']:.1f}</small><small>{taken}</small>"
            f'<small class="rights" title="{escape(rights)}">{outside(rights)}</small></span>')


def _person(
    workspace: str, suspect: Suspect, person: Folk, shown: Sequence[Sequence[Mapping[str, Any]]],
    others: Sequence[tuple[Other, int]], crops: Mapping[str, bytes], pages: Mapping[str, str],
) -> str:
    chips = [f"{len(person.rows)} face{'s' * (len(person.rows) != 1)}", suspect.split, f"purity {suspect.purity:.0%}"]
    if suspect.subject:
        chips.insert(0, f"label {outside(suspect.subject)}")
    given = Counter(row["subject"] for row in person.rows if row["subject"])
    if len(given) > 1 or (given and not suspect.subject):
        said = ", ".join(f"{outside(name)} × {count}" for name, count in sorted(given.items(), key=_most)[:4])
        chips.append(f"came labelled {said}" + (" …" if len(given) > 4 else ""))
    doubt = f'<p class="doubt">{outside(suspect.doubt)}</p>' if suspect.doubt else ""
    rows = shown[0]
    left = len(person.rows) - len(rows)
    faces = "".join(
        _face(row, crops, number, row["face_id"] in suspect.doubtful) for number, row in enumerate(rows, start=1))
    more = f'<p class="muted">The {len(rows)} that fit worst; {left} more fit better.</p>' if left else ""
    beside = "".join(
        _other(other, count, faces_, crops, pages) for (other, count), faces_ in zip(others, shown[1:], strict=False))
    return (f'<article class="person" id="{escape(suspect.identity)}"><div class="title"><span class="muted">'
            f"{suspect.rank}</span><h2>{outside(suspect.identity)}</h2>"
            f"{''.join(f'<span class=chip>{chip}</span>' for chip in chips)}</div>{doubt}"
            f'<div class="both"><div><div class="faces">{faces}</div>{more}'
            f"{_commands(workspace, suspect, person, [other for other, _ in others])}</div>"
            f"<div>{beside}</div></div></article>")


def _most(pair: tuple[str, int]) -> tuple[int, str]:
    return -pair[1], pair[0]


def _face(row: Mapping[str, Any], crops: Mapping[str, bytes], number: int, doubtful: bool) -> str:
    words = f"{row['face_id']}: face {row['number']} of {row['uri']}"
    return (f'<label class="face{" doubtful" if doubtful else ""}" title="{escape(words)}">'
            f"{crop_picture(crops.get(row['face_id']), f'face {number}')}"
            f'<input type="checkbox" value="{escape(shlex.quote(row["face_id"]))}" autocomplete="off">'
            f"{caption(row, number)}</label>")


def _other(other: Other, count: int, rows: Sequence[Mapping[str, Any]], crops: Mapping[str, bytes],
           pages: Mapping[str, str]) -> str:
    name = outside(other.identity)
    if other.identity in pages:
        name = f'<a href="{escape(pages[other.identity])}#{escape(other.identity)}">{name}</a>'
    near = "named in the doubt" if other.cosine is None else f"nearest other, cosine {other.cosine:.2f}"
    faces = "".join(
        f'<div class="face" title="{escape(row["face_id"])}">'
        f"{crop_picture(crops.get(row['face_id']), 'for comparison')}{caption(row)}</div>" for row in rows)
    return (f'<aside class="other"><p><b>{name}</b></p><p class="muted">{near}; {count} '
            f'face{"s" * (count != 1)}</p><div class="faces">{faces}</div></aside>')


def _commands(workspace: str, suspect: Suspect, person: Folk, others: Sequence[Other]) -> str:
    place, name = shlex.quote(workspace), shlex.quote(suspect.identity)
    ids = {row["face_id"] for row in person.rows}
    doubtful = " ".join(shlex.quote(face) for face in suspect.doubtful if face in ids)
    hint = "click the faces first"
    lines = [
        _command("not this person", hint, start=f"anchorface split {place} {name} --faces ", joint=",",
                 part=str(len(ids)), faces=doubtful),
        _command("of no use", hint, start=f"anchorface reject {place} ", joint=" "),
        *(_command(f"same as {other.identity}", "", text=_same(place, suspect, other)) for other in others),
        _command("who it is", "type a name", start=f"anchorface label {place} {name} ", field=True),
    ]
    return f'<div class="commands">{"".join(lines)}</div>'


def _same(place: str, suspect: Suspect, other: Other) -> str:
    """The command that makes two identities one: a labelled one gives its label, since two labels cannot be merged."""
    name, second = shlex.quote(suspect.identity), shlex.quote(other.identity)
    if suspect.subject:
        return f"anchorface label {place} {second} {shlex.quote(suspect.subject)}"
    return f"anchorface merge {place} {name} {second}"


def _command(title: str, hint: str, *, text: str = "", field: bool = False, **data: str) -> str:
    """One line: what is said, the command (as the script composes it, or as it stands without a script), buttons."""
    faces = data.get("faces", "").split()
    text = text or (data["start"] + data["joint"].join(faces) if faces else "")
    off = "" if text else " disabled"
    typed = '<input type="text" maxlength="200" autocomplete="off" aria-label="name">' if field else ""
    held = "".join(f' data-{key}="{escape(value)}"' for key, value in {"hint": hint, "text": text, **data}.items())
    return (f'<div class="command"{held}><span>{escape(title)} {typed}</span>'
            f'<code{"" if text else " class=empty"}>{escape(text or hint)}</code>'
            f'<button type="button" name="copy"{off}>Copy</button>'
            f'<button type="button" name="add"{off}>Add</button></div>')


def _others(suspect: Suspect, nearest: Other | None) -> list[Other]:
    """The identities that the doubt names, and the nearest one."""
    named = [name for name in dict.fromkeys(NAME.findall(suspect.doubt)) if name != suspect.identity]
    found = [nearest if nearest and nearest.identity == name else Other(name, None) for name in named]
    if nearest and nearest.identity not in named:
        found.append(nearest)
    return found[:OTHERS]


def _shown(person: Folk) -> Sequence[Mapping[str, Any]]:
    return person.rows[:FACES]


def _typical(person: Folk) -> Sequence[Mapping[str, Any]]:
    """The faces that fit best, the best first."""
    return person.rows[::-1][:OTHER_FACES]
