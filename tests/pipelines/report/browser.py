"""What a real browser makes of a page, at a given width."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
WRAPPER = """<!doctype html><meta charset="utf-8"><pre id="found"></pre>
<iframe id="page" width="{width}" height="900" style="border: 0" srcdoc="{page}"></iframe>
<script>
document.getElementById("page").onload = event => {{
  const page = event.target.contentDocument, all = name => [...page.querySelectorAll(name)];
  const size = node => [node.getBoundingClientRect().width, node.getBoundingClientRect().height];
  document.getElementById("found").textContent = JSON.stringify({{
    width: page.documentElement.clientWidth,
    needed: page.documentElement.scrollWidth,
    broken: all("img").filter(image => image.naturalWidth == 0).length,
    images: all("img").length,
    charts: all("svg").map(size),
    headings: all("h2").filter(node => node.offsetHeight > 0).map(node => node.textContent),
    tables: all("table").filter(node => node.offsetHeight > 0).length,
  }});
}};
</script>
"""


def find_browser() -> str | None:
    """The program of a Chromium; None without one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def look(browser: str, page: str, width: int, folder: Path) -> dict[str, Any]:
    """Show a page in a frame of this width in pixels, and say what is seen."""
    file = folder / f"at-{width}.html"
    file.write_text(WRAPPER.format(width=width, page=html.escape(page)), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000"]
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [browser, *flags, profile, "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    return seen
