"""The page that is committed is the one its sources make, and asks for nothing from elsewhere."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import salience.explorer

STATIC = Path(salience.explorer.__file__).parent / "static"
WEB = Path(__file__).parent.parent.parent / "web"


def test_it_was_built_from_these_sources() -> None:
    hash = hashlib.sha256()
    names = sorted(["package-lock.json", *(f"src/{path.name}" for path in (WEB / "src").iterdir())])
    for name in names:
        hash.update(f"{name}\n".encode() + (WEB / name).read_bytes())
    built = (STATIC / "BUILT-FROM").read_text().strip()
    assert built == hash.hexdigest(), "the page is older than its sources: in web/, npm ci && npm run build"


def test_nothing_in_it_points_elsewhere() -> None:
    for name in ("index.html", "style.css"):
        text = (STATIC / name).read_text()
        assert not re.search(r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//|url\(\s*["']?(?:https?:)?//""", text), (
            name
        )
    script = (STATIC / "app.js").read_text()
    assert not re.search(r"""(?:fetch|import|Worker|EventSource|WebSocket)\(\s*["'`]https?:""", script)
    assert "new Function(" not in script  # the page's policy forbids it
    assert "eval(" not in script
