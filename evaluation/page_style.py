"""How the report page looks: one style sheet, light, no outside fonts, from a phone to a wide screen."""

STYLE = """
:root { --ink:#1d2733; --muted:#66727f; --rule:#e3e8ed; --pale:#f5f7f9; --accent:#1f6fb2; --warm:#d8742a;
  --good:#3a8f6b; --bad:#b8443f; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin:0; background:#fff; color:var(--ink); font:16px/1.55 "Inter","Segoe UI",system-ui,-apple-system,
  "Helvetica Neue",Arial,"DejaVu Sans",sans-serif; -webkit-text-size-adjust:100%; }
header, section, footer { max-width:1080px; margin:0 auto; padding:0 24px; }
header { padding-top:52px; }
section { padding-top:56px; }
.brand { color:var(--accent); font-weight:650; letter-spacing:.02em; font-size:14px; }
h1 { font-size:clamp(26px,3.8vw,38px); line-height:1.16; letter-spacing:-.018em; margin:.35em 0 .5em;
  max-width:22em; text-wrap:balance; }
figure { margin:0; }
h2 { font-size:24px; letter-spacing:-.01em; margin:0 0 .3em; }
h3 { font-size:16px; margin:2em 0 .4em; }
p { max-width:46em; margin:.4em 0 .9em; }
.lead { font-size:18px; }
.muted, figcaption, .note { color:var(--muted); }
.note { font-size:14px; max-width:60em; }
nav { display:flex; flex-wrap:wrap; gap:6px 20px; margin:22px 0 0; font-size:14px; }
a { color:var(--accent); text-decoration:none; } a:hover { text-decoration:underline; }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(190px,1fr)); gap:14px; margin:28px 0 12px; }
.tile { border:1px solid var(--rule); border-radius:12px; padding:16px 18px 14px; background:#fff; }
.tile b { display:block; font-size:34px; line-height:1.15; letter-spacing:-.02em; font-variant-numeric:tabular-nums; }
.tile { display:flex; flex-direction:column; } .tile .bar { margin-top:auto; }
.tile span { display:block; padding-bottom:2px; font-size:14px; color:var(--muted); }
.tile .bar { height:6px; border-radius:3px; background:var(--rule); overflow:hidden; }
.tile .bar i { display:block; height:100%; background:var(--accent); }
.tile.best b { color:var(--accent); }
.wide { overflow-x:auto; }
svg { width:100%; height:auto; display:block; font-family:inherit; }
.charts { display:grid; grid-template-columns:repeat(auto-fit,minmax(300px,1fr)); gap:22px 28px; margin-top:14px; }
svg.broad { min-width:680px; }
figcaption { font-size:14px; margin-bottom:4px; }
.two { display:grid; grid-template-columns:minmax(0,1.1fr) minmax(0,1fr); gap:34px; align-items:center; }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums; font-size:14.5px; margin-top:12px; }
th, td { text-align:right; padding:9px 8px; border-bottom:1px solid var(--rule); vertical-align:top; }
td { white-space:nowrap; }
th { font-size:13px; color:var(--muted); font-weight:600; vertical-align:bottom; }
th:first-child, td:first-child { text-align:left; white-space:normal; min-width:165px; }
td small { display:block; font-weight:400; color:var(--muted); font-size:12px; }
tr.frame td { color:var(--muted); } tr.main td { background:var(--pale); }
td.best { font-weight:700; }
.left td, .left th { text-align:left; white-space:normal; }
.case { display:grid; grid-template-columns:170px repeat(var(--columns),minmax(0,1fr)); gap:10px; padding:12px 0;
  border-bottom:1px solid var(--rule); align-items:start; }
.cases { min-width:calc(170px + var(--columns) * 106px); }
.case.names { padding:0 0 4px; font-size:13px; color:var(--muted); font-weight:600; }
.case .who { font-size:13px; color:var(--muted); line-height:1.45; overflow-wrap:anywhere; }
.case .who b { color:var(--ink); display:block; font-size:14px; }
.case img { width:100%; display:block; border-radius:8px; aspect-ratio:1; background:var(--pale); }
.case .mosaic { display:grid; grid-template-columns:1fr 1fr; gap:4px; }
.case .mosaic.single { grid-template-columns:1fr; }
.case .mosaic img { border-radius:6px; }
.case .who ul { margin:4px 0 0; padding:0; list-style:none; }
.case .under { font-size:12.5px; color:var(--muted); margin-top:4px; font-variant-numeric:tabular-nums; }
.case .under b { color:var(--ink); } .case .under .copy { color:var(--bad); font-weight:650; }
.results { display:grid;
  grid-template-columns:minmax(165px,max-content) repeat(var(--columns),minmax(max-content,1fr)); }
.results thead, .results tbody { display:contents; }
.results tr { display:grid; grid-template-columns:subgrid; grid-column:1/-1; }
.results thead tr { order:-100000; align-items:end; }
.results th { max-width:9.5em; justify-self:end; } .results th:first-child { justify-self:start; }
.sort { position:relative; cursor:pointer; color:var(--muted); padding:0 1px; }
.sort input { position:absolute; opacity:0; width:1px; }
.sort:has(:checked) { color:var(--accent); } .sort:has(:focus-visible) { outline:2px solid var(--accent); }
.absent { color:var(--warm); }
.slides { display:grid; grid-template-columns:repeat(auto-fit,minmax(220px,1fr)); gap:14px; }
.slide { position:relative; container-type:inline-size; aspect-ratio:1; overflow:hidden; border-radius:8px; }
.slide img { width:100cqw; height:100cqw; max-width:none; display:block; }
.slide .over { position:absolute; left:0; top:0; height:100%; width:50%; min-width:18px; max-width:100%;
  overflow:hidden; resize:horizontal; border-right:2px solid #fff; }
code, .hash { font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace; font-size:13px;
  overflow-wrap:anywhere; }
details { margin-top:12px; } summary { cursor:pointer; color:var(--accent); }
footer { padding:52px 24px 60px; font-size:14px; color:var(--muted); }
@media (max-width:720px) {
  header, section, footer { padding-left:16px; padding-right:16px; } header { padding-top:30px; }
  section { padding-top:42px; } .two { grid-template-columns:1fr; }
  .cases { min-width:calc(var(--columns) * 62px); }
  .case { grid-template-columns:repeat(var(--columns),minmax(0,1fr)); gap:6px; } .case .who { grid-column:1/-1; }
  .case.names { font-size:11px; line-height:1.25; } .case.names > :first-child { display:none; }
  .case .under { font-size:11px; }
}
@media print { nav { display:none; } section { break-inside:avoid; } }
"""
