"""The report of a batch: one HTML page with every table and figure, and under each where it comes from."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, select_autoescape
from markupsafe import Markup

from mdelib import __version__, provenance, store
from mdelib.editions import list_sources, to_chapters

__all__ = ["write_report"]

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Report: {{ data }}, {{ scale }} scale</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 3rem; border-bottom: 1px solid #8886; }
figure { margin: 2rem 0; overflow-x: auto; } img { max-width: 100%; height: auto; background: #fff; }
figcaption { margin-top: .4rem; } small, .origin { color: #667; font-size: .85rem; }
@media (prefers-color-scheme: dark) { small, .origin { color: #aab; } }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
.warn { border-left: 4px solid #d55e00; padding: .4rem .8rem; }
</style></head><body>
<h1>Explainable monocular depth estimation: report</h1>
<p>Data <b>{{ data }}</b>, scale <b>{{ scale }}</b>, commit <b>{{ state.commit }}</b>{{ " (with changes that are
not committed)" if state.dirty else "" }}, {{ machine.device_name }}, {{ machine.threads }} threads,
mdelib {{ version }}, torch {{ versions.torch }}.</p>
{% if scale == "smoke" %}<p class="warn">This is a smoke run: it shows that everything runs. Its numbers are no
results.</p>{% endif %}
<nav><ol start="0" style="list-style: none; padding: 0">
{% for chapter in chapters %}<li><a href="#n{{ chapter.number }}">{{ chapter.number }} {{ chapter.title }}</a>
({{ chapter["items"] | length }} tables and figures)</li>{% endfor %}</ol></nav>
{% for chapter in chapters %}
<h2 id="n{{ chapter.number }}">{{ chapter.number }} {{ chapter.title }}</h2>
{% for item in chapter["items"] %}<figure id="{{ item.label }}">
{% if item.kind == "png" %}<img alt="{{ item.alt }}" src="data:image/png;base64,{{ item.body }}">
{% else %}{{ item.body }}{% endif %}
<figcaption><b>{{ item.label }}</b> {{ item.caption }}
<div class="origin">{% if item.sources %}Made from
{% for source in item.sources %}{{ source.address }} (key {{ source.key }}, commit {{ source.commit }},
{{ source.made }}){{ "; " if not loop.last }}{% endfor %}.
{% else %}Computed in notebook {{ item.notebook }}.{% endif %}
Drawn {{ item.made }} at commit {{ item.commit }}, seed {{ item.seed }}, {{ item.device_name }}.</div></figcaption>
</figure>
{% endfor %}{% endfor %}
</body></html>
"""


def _items(folder: Path) -> list[dict[str, Any]]:
    found = []
    for record in sorted(folder.glob("*.json")):
        item = json.loads(record.read_text())
        content = record.with_suffix(f".{item['kind']}").read_bytes()
        item["body"] = (base64.b64encode(content).decode() if item["kind"] == "png"
                        else Markup(to_chapters(content.decode(), r"#n\1")))  # escaped cell by cell when written
        found.append(item)
    return sorted(found, key=lambda item: tuple(int(part) for part in item["label"].split(".")))


def write_report(data: str, scale: str) -> Path:
    """Gather what the notebooks showed into `runs/report/<data>-<scale>/index.html`, a file that needs no other.

    Raises:
        FileNotFoundError: no notebook has shown anything for this data and scale yet.
    """
    root = store.runs_root() / "report" / f"{data}-{scale}"
    chapters = []
    for source in list_sources():
        items = _items(root / source.name[:2])
        if items:
            title = source.stem[3:].replace("_", " ")
            chapters.append({"number": source.name[:2], "title": title, "items": items})
    if not chapters:
        raise FileNotFoundError(f"there is nothing to report for {data} at {scale} scale: run `mde reproduce --data "
                                f"{data} --scale {scale}` first")
    template = Environment(autoescape=select_autoescape(default=True), trim_blocks=True).from_string(PAGE)
    text = template.render(data=data, scale=scale, chapters=chapters, state=provenance.git_state(),
                           machine=provenance.machine(), versions=provenance.versions(), version=__version__)
    return store.atomic_write(root / "index.html", text)
