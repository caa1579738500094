"""Targets beside the references that the policy chooses for them, with the reasons.

In: the index and the names of its identities. Out: HTML. Identities, targets and draws are functions of their names
and the seed, so the same data show the same faces.
"""

import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from anchorface.identity_index.audit.gallery import sql
from anchorface.identity_index.audit.look import outside
from anchorface.identity_index.audit.sheets import caption
from anchorface.identity_index.audit.thumbnails import crop_picture
from anchorface.identity_index.retrieval.mismatch import Chosen, MismatchPolicy
from anchorface.identity_index.table import IdentityIndex
from anchorface.records.seeds import derive, rng

COLUMNS = ("face_id", "yaw", "pitch", "age", "norm", "taken", "licence", "consent")


def matches(index: IdentityIndex, identities: Sequence[str], policy: MismatchPolicy, *, k: int, shown: int,
            seed: int) -> str:
    """The page's content.

    Args:
        index: the faces.
        identities: names of those with several faces.
        policy: how references are chosen.
        k: references per target. shown: targets. seed: other seeds, other identities and faces.
    """
    order = sorted(identities, key=lambda name: _order(seed, name))[:shown]
    if not order:
        return "<p>No identity has two faces, so no face has a reference.</p>"
    return "".join(_match(index, name, policy, k, seed) for name in order)


def _match(index: IdentityIndex, identity: str, policy: MismatchPolicy, k: int, seed: int) -> str:
    table = index.faces(COLUMNS, f"identity = {sql(identity)}")
    rows = {row["face_id"]: row for row in table.to_pylist()}
    if not rows:
        return ""
    target = min(rows, key=lambda face_id: _order(seed, face_id))
    generator = rng(seed, "audit references", derive(seed, target))
    chosen = index.references(target, policy, k, generator)
    crops = index.crops([target, *(one.face_id for one in chosen)])
    figures = "".join(_figure(rows[one.face_id], crops, one) for one in chosen)
    nothing = "" if chosen else f'<p class="muted">No admissible reference among {len(rows)} faces.</p>'
    return (f'<div class="match">{_figure(rows[target], crops, None, identity)}<div><div class="faces">{figures}</div>'
            f"{nothing}</div></div>")


def _figure(row: Mapping[str, Any], crops: Mapping[str, bytes], chosen: Chosen | None, identity: str = "") -> str:
    said = f"target, {outside(identity)}" if chosen is None else outside(chosen.reason)
    return (f'<div class="face" title="{escape(row["face_id"])}">'
            f"{crop_picture(crops.get(row['face_id']), 'target' if chosen is None else 'reference')}"
            f'<span class="caption"><b>{said}</b></span>{caption(row)}</div>')


def _order(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/audit/{name}".encode()).digest()
