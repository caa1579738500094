"""How the audit pages look and behave: one style sheet, one small script, nothing from outside.

A page is one HTML file that works from a disk. Its content security policy lets nothing be loaded, and no script run
but the one below (by its hash), so that even text that slipped through unescaped could do nothing.
"""

import base64
import hashlib
from html import escape

STYLE = """
:root { --ink:#1d2733; --muted:#66727f; --rule:#e3e8ed; --pale:#f5f7f9; --accent:#1f6fb2; --warm:#d8742a; }
* { box-sizing:border-box; }
body { margin:0; color:var(--ink); background:#fff; font:15px/1.5 "Inter","Segoe UI",system-ui,-apple-system,
  "Helvetica Neue",Arial,"DejaVu Sans",sans-serif; }
header, main, footer { max-width:1280px; margin:0 auto; padding:0 24px; }
header { padding-top:36px; } footer { padding-top:40px; padding-bottom:56px; color:var(--muted); font-size:14px; }
.brand { color:var(--accent); font-weight:650; font-size:14px; }
h1 { font-size:30px; line-height:1.2; letter-spacing:-.015em; margin:.25em 0 .35em; }
h2 { font-size:19px; margin:0; } main > h2 { margin-top:40px; }
p { max-width:56em; margin:.4em 0 .8em; } .muted, .caption small { color:var(--muted); }
nav { display:flex; flex-wrap:wrap; gap:4px 18px; font-size:14px; margin:14px 0 4px; }
a { color:var(--accent); text-decoration:none; } a:hover { text-decoration:underline; }
nav b { font-weight:650; } .sheets a { white-space:nowrap; }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(150px,1fr)); gap:12px; margin:22px 0 8px; }
.tile { border:1px solid var(--rule); border-radius:12px; padding:12px 16px; }
.tile b { display:block; font-size:27px; line-height:1.2; font-variant-numeric:tabular-nums; }
.tile span { color:var(--muted); font-size:14px; }
table { border-collapse:collapse; font-size:14px; margin-top:10px; font-variant-numeric:tabular-nums; }
th, td { padding:5px 26px 5px 0; border-bottom:1px solid var(--rule); text-align:left; vertical-align:top;
  overflow-wrap:anywhere; }
th { color:var(--muted); font-weight:600; font-size:13px; } td.number, th.number { text-align:right; }
.person { border-top:1px solid var(--rule); padding:22px 0 26px; scroll-margin-top:8px; }
.title { display:flex; flex-wrap:wrap; gap:4px 12px; align-items:baseline; }
.chip { border:1px solid var(--rule); border-radius:20px; padding:0 10px; font-size:13px; color:var(--muted); }
.doubt { margin:.35em 0 .2em; } .doubt::before { content:"! "; color:var(--warm); font-weight:700; }
.both { display:grid; grid-template-columns:minmax(0,1fr) 252px; gap:28px; margin-top:10px; align-items:start; }
.faces { display:grid; grid-template-columns:repeat(auto-fill,minmax(112px,1fr)); gap:14px 10px; margin-top:10px; }
.other .faces { grid-template-columns:repeat(2,minmax(0,1fr)); }
.other { border-left:1px solid var(--rule); padding-left:22px; }
.other p { margin:0; font-size:14px; } .other + .other { margin-top:16px; }
.face { display:block; position:relative; } label.face { cursor:pointer; }
.face img, .blank { width:100%; aspect-ratio:1; object-fit:contain; display:block; border-radius:8px;
  background:var(--pale); outline:0 solid var(--accent); }
.blank { display:flex; align-items:center; justify-content:center; text-align:center; padding:8px; font-size:12px;
  color:var(--muted); overflow:hidden; overflow-wrap:anywhere; }
.doubtful img, .doubtful .blank { outline:3px solid var(--warm); outline-offset:-3px; }
.face input { position:absolute; top:7px; right:7px; width:17px; height:17px; margin:0; accent-color:var(--accent); }
.face:has(:checked) img, .face:has(:checked) .blank { outline:4px solid var(--accent); outline-offset:-4px; }
.caption { display:block; font-size:12px; line-height:1.38; margin-top:4px; font-variant-numeric:tabular-nums;
  overflow-wrap:anywhere; }
.caption small { display:block; font-size:11.5px; }
.caption .rights { white-space:nowrap; overflow:hidden; text-overflow:ellipsis; }
.commands { margin-top:14px; }
.command { display:flex; gap:8px; align-items:center; margin-top:5px; }
.command span { flex:none; width:196px; font-size:13px; color:var(--muted); white-space:nowrap; }
.command code { background:var(--pale); border-radius:6px; padding:3px 8px; max-height:5.2em; overflow:auto;
  min-width:0; }
.command code.empty { color:var(--muted); font-family:inherit; }
.command input { width:118px; font:inherit; font-size:13px; padding:1px 6px; border:1px solid var(--rule);
  border-radius:6px; }
code { font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace; font-size:12.5px;
  overflow-wrap:anywhere; }
button { font:inherit; font-size:13px; border:1px solid var(--rule); background:#fff; border-radius:6px;
  padding:1px 10px; cursor:pointer; color:var(--accent); flex:none; } button:disabled { color:var(--rule); }
.list { position:sticky; bottom:0; background:#fff; border-top:2px solid var(--accent); padding:8px 24px;
  font-size:14px; }
.list pre { max-height:9em; overflow:auto; margin:6px 0 0; font-size:12px; white-space:pre-wrap;
  overflow-wrap:anywhere; }
.charts { display:grid; grid-template-columns:repeat(auto-fit,minmax(330px,1fr)); gap:26px; margin-top:14px; }
figure { margin:0; } figure img { width:100%; display:block; } figcaption { font-size:13px; color:var(--muted); }
.match { display:grid; grid-template-columns:132px minmax(0,1fr); gap:24px; border-top:1px solid var(--rule);
  padding:16px 0; } .match .faces { margin-top:0; grid-template-columns:repeat(auto-fill,minmax(112px,150px)); }
@media (max-width:760px) { header, main, footer { padding-left:14px; padding-right:14px; }
  .both { grid-template-columns:1fr; } .other { border-left:0; padding-left:0; } .command { flex-wrap:wrap; }
  .command span { width:100%; } .faces { grid-template-columns:repeat(auto-fill,minmax(92px,1fr)); } }
"""

SCRIPT = """
"use strict";
const quoted = text => "'" + text.replaceAll("'", "'\\\\''") + "'";
for (const person of document.querySelectorAll(".person")) {
  const boxes = [...person.querySelectorAll("input[type=checkbox]")];
  const compose = () => {
    const ticked = boxes.filter(box => box.checked).map(box => box.value);
    for (const line of person.querySelectorAll(".command")) {
      const code = line.querySelector("code"), field = line.querySelector("input");
      let text = line.dataset.text;
      if (line.dataset.joint !== undefined) {
        const faces = ticked.length ? ticked : (line.dataset.faces || "").split(" ").filter(Boolean);
        const whole = line.dataset.part !== undefined && faces.length >= Number(line.dataset.part);
        text = faces.length && !whole ? line.dataset.start + faces.join(line.dataset.joint) : "";
      }
      if (field) text = field.value.trim() ? line.dataset.start + quoted(field.value.trim()) : "";
      code.textContent = text || line.dataset.hint;
      code.classList.toggle("empty", !text);
      for (const button of line.querySelectorAll("button")) button.disabled = !text;
    }
  };
  person.addEventListener("input", compose);
  compose();
}
const list = document.querySelector(".list"), lines = list.querySelector("pre");
const copy = async place => {
  try { await navigator.clipboard.writeText(place.textContent); } catch {
    getSelection().selectAllChildren(place);
    document.execCommand("copy");
  }
};
document.addEventListener("click", async event => {
  const button = event.target.closest("button");
  if (!button) return;
  const code = button.closest(".command")?.querySelector("code").textContent;
  if (button.name === "clear") lines.textContent = "";
  if (button.name === "add" && !lines.textContent.split("\\n").includes(code)) lines.textContent += code + "\\n";
  list.hidden = !lines.textContent;
  if (button.name !== "copy") return;
  await copy(code === undefined ? lines : button.closest(".command").querySelector("code"));
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1200);
});
"""

LIST = (
    '<div class="list" hidden><div>Commands collected on this page <button type="button" name="copy">Copy</button> '
    '<button type="button" name="clear">Clear</button></div><pre></pre></div>'
)


def page(title: str, lead: str, body: str, links: str, *, script: bool = False) -> bytes:
    """A whole page.

    Args:
        title: plain text.
        lead: HTML of one paragraph under the title.
        body: HTML of the page's content.
        links: HTML of the navigation.
        script: whether the page selects faces and composes commands.
    """
    allowed = f"script-src '{_hash(SCRIPT)}'; " if script else ""
    policy = f"default-src 'none'; img-src data:; style-src '{_hash(STYLE)}'; {allowed}base-uri 'none'"
    code = f"{LIST}<script>{SCRIPT}</script>" if script else ""
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>anchorface · {escape(title)}</title><style>{STYLE}</style></head><body>"
            f'<header><div class="brand">anchorface · audit</div><h1>{escape(title)}</h1><p>{lead}</p>'
            f"<nav>{links}</nav></header><main>{body}</main><footer>Made by <code>anchorface audit</code>; "
            f"it holds pictures of people: treat it as you treat the photographs.</footer>{code}</body></html>"
            ).encode()


def outside(text: object) -> str:
    """Text that came from outside (labels, file names, causes), safe to stand in a page."""
    return f"<bdi>{escape(str(text))}</bdi>"


def table(names: list[str], rows: list[list[str]]) -> str:
    """A table of HTML cells; the last column holds numbers."""
    def cells(values: list[str], kind: str) -> str:
        return "".join(f'<{kind}{" class=number" if n == len(values) - 1 else ""}>{value}</{kind}>'
                       for n, value in enumerate(values))

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{cells(names, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
