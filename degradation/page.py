"""A page that shows every profile over one face: one HTML file with everything inside, no outside reference."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

import cv2
import numpy as np
import simplejpeg

from anchorface.degradation.clip import apply_clip, clip_profiles, draw_clip
from anchorface.degradation.explain import explain
from anchorface.degradation.profiles import clips, draw, profile, profiles
from anchorface.degradation.profiles.iconface import PUBLISHED, STRONGEST, iconface_at
from anchorface.degradation.ranges import Chance, Choice, LogUniform, Range, Uniform, Whole
from anchorface.degradation.replay import apply, check_image
from anchorface.records import storage
from anchorface.records.seeds import rng

SIDE = 256
FRAMES = 16
STYLE = """
:root { --ink:#1d2733; --muted:#66727f; --rule:#e3e8ed; --pale:#f5f7f9; --accent:#1f6fb2; }
* { box-sizing:border-box; }
body { margin:0; background:#fff; color:var(--ink); font:16px/1.55 "Inter","Segoe UI",system-ui,-apple-system,
  "Helvetica Neue",Arial,"DejaVu Sans",sans-serif; }
header, section, footer { max-width:1180px; margin:0 auto; padding:0 24px; }
header { padding-top:44px; } section { padding-top:44px; } footer { padding:44px 24px 60px; color:var(--muted); }
.brand { color:var(--accent); font-weight:650; font-size:14px; }
h1 { font-size:34px; line-height:1.16; letter-spacing:-.018em; margin:.3em 0 .4em; }
h2 { font-size:23px; letter-spacing:-.01em; margin:0; } h3 { font-size:15px; margin:18px 0 0; }
p { max-width:52em; margin:.4em 0 .9em; } .muted, figcaption, summary { color:var(--muted); }
nav { display:flex; flex-wrap:wrap; gap:4px 18px; font-size:14px; margin-top:18px; }
a { color:var(--accent); text-decoration:none; } a:hover { text-decoration:underline; }
.row { display:grid; grid-template-columns:repeat(auto-fill,minmax(190px,1fr)); gap:18px 14px; margin-top:14px; }
.strip { display:grid; grid-template-columns:repeat(auto-fill,minmax(118px,1fr)); gap:12px 8px; margin-top:14px; }
figure { margin:0; } figure img { width:100%; display:block; border-radius:8px; aspect-ratio:1; }
figcaption { font-size:12.5px; line-height:1.42; margin-top:5px; overflow-wrap:anywhere; }
figcaption b { color:var(--ink); display:block; }
details { margin-top:10px; font-size:14px; } summary { cursor:pointer; }
table { border-collapse:collapse; font-size:14px; margin-top:8px; font-variant-numeric:tabular-nums; }
td { padding:4px 22px 4px 0; border-bottom:1px solid var(--rule); vertical-align:top; }
code { font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace; font-size:13px; }
@media (max-width:720px) { header, section, footer { padding-left:16px; padding-right:16px; } h1 { font-size:27px; } }
"""


def write_page(out: str, face: np.ndarray, *, seed: int = 0, draws: int = 5) -> str:
    """Write the page.

    Args:
        out: the HTML file. face: uint8 [S, S, 3], RGB, square; shown and degraded at 256 px.
        seed: other seeds, other draws. draws: pictures of each profile.

    Returns:
        out.

    Raises:
        DataError: a face of another kind. StorageError: the file cannot be written.
    """
    check_image(face)
    face = cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    sections = [("strengths", _strengths(face, seed))]
    sections += [(name, _pictures(name, face, seed, draws)) for name in profiles()]
    sections += [(f"{name} (clips)", _clips(name, face, seed)) for name in clip_profiles()]
    links = "".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name, _ in sections)
    body = "".join(f'<section id="{_anchor(name)}">{content}</section>' for name, content in sections)
    page = (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>anchorface · degradations</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
            f'<header><div class="brand">anchorface · degradations</div><h1>Every profile over one face</h1>'
            f"<p>The person does not exist. Every picture is one drawn plan at {SIDE} px; lengths scale with the side, "
            f"so a larger face is as damaged. Under each: what was done, in order. Seed {seed}.</p>"
            f"<nav>{links}</nav></header>{body}<footer>This file stands alone.</footer></body></html>")
    storage.write_atomic(out, page.encode())
    return out


def in_words(given: Range) -> str:
    """A range as the page says it."""
    match given:
        case Chance(probability):
            return f"yes with probability {probability:g}"
        case Uniform(low, high) | LogUniform(low, high) | Whole(low, high) if low == high:
            return f"{low:g}"
        case Uniform(low, high):
            return f"even from {low:g} to {high:g}"
        case LogUniform(low, high):
            return f"even in its logarithm, from {low:g} to {high:g}"
        case Whole(low, high, step):
            return f"whole, even from {low} to {high}" + (f" in steps of {step}" if step != 1 else "")
        case Choice(values, weights):
            total = sum(weights) or len(values)
            shares = [weight / total for weight in weights or (1,) * len(values)]
            return ", ".join(f"{value} {share:.3g}" for value, share in zip(values, shares, strict=True))


def _pictures(name: str, face: np.ndarray, seed: int, draws: int) -> str:
    figures = [_figure(face, "clean", "")]
    for number in range(draws):
        plan = draw(name, rng(seed, f"page {name}", number), SIDE)
        figures.append(_figure(apply(face, plan), "", explain(plan).partition(": ")[2]))
    chosen = profile(name)
    return _section(name, chosen.source, figures, chosen.ranges)


def _clips(name: str, face: np.ndarray, seed: int) -> str:
    plan = draw_clip(name, rng(seed, f"page clip {name}"), FRAMES, SIDE)
    frames = apply_clip(np.repeat(face[None], FRAMES, axis=0), plan)
    figures = [_figure(frames[place], f"frame {place}", "") for place in (0, 5, 10, FRAMES - 1)]
    chosen = next(one for one in clips.PROFILES if one.name == name)
    said = f'<p class="muted">{escape(explain(plan))}</p>'
    return _section(f"{name} (clips)", chosen.source, figures, chosen.ranges, said)


def _strengths(face: np.ndarray, seed: int) -> str:
    """IConFace's strengths over the face: the same random numbers at every strength, a strip for each family."""
    strips = []
    for title, share in (("second order", 1), ("BSRGAN", 0)):
        figures = []
        for strength in range(STRONGEST + 1):
            plan = draw(iconface_at(strength), rng(seed, f"page strengths {title}"), SIDE,
                        {"family.second_order": share})
            figures.append(_figure(apply(face, plan), f"strength {strength}", ""))
        strips.append(f'<h3>{title}</h3><div class="strip">{"".join(figures)}</div>')
    return (f"<h2>iconface, strength by strength</h2><p>One draw at each strength, {PUBLISHED} being the family as "
            f'published. What strength scales is our choice: see the source.</p>{"".join(strips)}')


def _section(title: str, source: str, figures: Sequence[str], ranges: Mapping[str, Range], said: str = "") -> str:
    rows = "".join(f"<tr><td><code>{escape(key)}</code></td><td>{escape(in_words(given))}</td></tr>"
                   for key, given in ranges.items())
    return (f'<h2>{escape(title)}</h2><p class="muted">Source: {escape(source)}</p>'
            f'<div class="row">{"".join(figures)}</div>{said}'
            f"<details><summary>what it draws from</summary><table><tbody>{rows}</tbody></table></details>")


def _figure(image: np.ndarray, title: str, text: str) -> str:
    content = base64.b64encode(simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=90, colorspace="RGB", colorsubsampling="444")).decode()
    title = f"<b>{escape(title)}</b>" if title else ""
    return (f'<figure><img src="data:image/jpeg;base64,{content}" alt="{escape(text or "face")}" loading="lazy">'
            f"<figcaption>{title}{escape(text)}</figcaption></figure>")


def _anchor(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)
