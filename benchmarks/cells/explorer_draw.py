"""Measure how long a browser without a GPU takes to draw a million points on the map.

    .venv/bin/python -m benchmarks.cells.explorer_draw                    # 1,000,000 points; requires Chromium
    .venv/bin/python -m benchmarks.cells.explorer_draw --rows 100000      # a trial

The store contains PCA embeddings of Fashion-MNIST, repeated with noise, as in store_search.py. The page is opened
several times. Then the map is dragged, while the number of drawn points is counted. Prints one JSON object:
milliseconds of the drawing, of opening the page, and between two frames of the drag.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from benchmarks.cells.explorer_load import served
from benchmarks.cells.store_search import embeddings, make_store, usual_distance
from benchmarks.harness.report import SUMMARY, emit, versions
from salience.store.embedding import coordinates

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)  # fmt: skip
PATIENCE = 120_000  # milliseconds
WATCH = """() => {
  window.seen = {drawn: [], frames: []};
  let last = performance.now();
  const look = (now) => {
    window.seen.drawn.push(window.salience.map.drawn());
    window.seen.frames.push(now - last);
    last = now;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""


def opened(page: Page, url: str, rows: int) -> dict[str, float]:
    begun = time.perf_counter()
    page.goto(url)
    page.wait_for_function(f"() => window.salience?.map?.drawn() === {rows}", timeout=PATIENCE)
    return {
        "open_ms": 1000 * (time.perf_counter() - begun),
        "draw_ms": page.evaluate("() => window.salience.map.lastDraw"),
    }


def dragged(page: Page) -> dict[str, Any]:
    page.mouse.move(450, 400)
    page.mouse.down()
    page.mouse.move(455, 405)
    page.evaluate(WATCH)
    for step in range(60):
        page.mouse.move(450 + 3 * step, 400 + step)
    seen = page.evaluate("() => window.seen")
    page.mouse.up()
    moving = seen["drawn"][2:]
    return {"most_drawn": max(moving), "frame_ms": statistics.median(seen["frames"][2:]), "frames": len(moving)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--scratch", type=Path, default=Path(".bench"))
    args = parser.parse_args()
    if CHROMIUM is None:
        raise SystemExit("no Chromium here (Debian: apt install chromium)")
    path, base = args.scratch.resolve() / f"draw-{args.rows}.lance", embeddings(args.scratch)
    store = make_store(base, args.rows, usual_distance(base), path)
    store.write_columns(coordinates(store))
    process, url = served(path)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            openings = [opened(page, url, args.rows) for _ in range(args.times)]
            moving = dragged(page)
            browser.close()
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(path)
    emit(
        SUMMARY,
        rows=args.rows,
        draw_ms=statistics.median(one["draw_ms"] for one in openings),
        open_ms=statistics.median(one["open_ms"] for one in openings),
        openings=openings,
        moving=moving,
        versions=versions("playwright", "fastapi", "numpy"),
    )


if __name__ == "__main__":
    main()
