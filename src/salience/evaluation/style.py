"""How reports look: numbers as text, and the style sheet of a page."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1b1e23; --soft: #5b6470; --line: #d8dce2; --paper: #ffffff; --good: #e8f3ec;
  --accent: #2f7fd6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a0a8b3; --line: #363c45; --paper: #16181c;
  --good: #1b2b22; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; }
p { margin: .4rem 0; max-width: 46rem; } .soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
.verdict { border-left: 4px solid var(--accent); padding: .5rem .9rem; margin: 1.2rem 0; font-size: 1.1rem; }
.scroll { overflow-x: auto; } figure { margin: 1rem 0; } svg { max-width: 100%; height: auto; color: var(--ink); }
figure svg text { font-family: system-ui, sans-serif; } img { max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; min-width: 100%; }
th, td { text-align: right; padding: .28rem .7rem; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; font-weight: 400; } thead th { font-weight: 600; }
tr.family th { padding-top: 1rem; font-weight: 600; } tr.family th span { font-weight: 400; color: var(--soft);
  white-space: normal; } td small { color: var(--soft); } td.best { background: var(--good); font-weight: 600; }
td.best small { font-weight: 400; }
"""


def number(value: float) -> str:
    """Three figures behind the point where a proportion may stand, else four in all."""
    return f"{value:z.3f}" if abs(value) < 10 else f"{value:.4g}"
