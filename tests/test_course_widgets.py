"""The course's widgets: each notebook that promises one has it: a static twin, words, keys, and a quick answer."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

from mdelib import measured
from mdelib.editions import build, editions, find_source
from mdelib.pixel_picker import SCRIPT
from mdelib.provenance import find_home

TURNED = {"03": {"bins", "law"}, "04": {"unit", "layer"}, "05": {"λ"}, "07": {"moved", "scaled", "mirrored"},
          "08": {"shear", "scale_by"}, "10": {"sigma", "bins", "depth"}, "13": {"network"}, "14": {"percent", "order"}}
NUMBERS = pytest.mark.parametrize("number", list(TURNED))
CALLS = ("explore", "click_pixels")


def widgets_of(number: str) -> list[tuple[str, ast.Call]]:
    """The cells that show a widget, each with the call."""
    return [(cell.source, node) for cell in build(find_source(number)).cells if cell.cell_type == "code"
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in CALLS]


def keys_in(node: ast.AST) -> set[str]:
    return {key.value for one in ast.walk(node) if isinstance(one, ast.Dict) for key in one.keys
            if isinstance(key, ast.Constant)}


@NUMBERS
def test_the_notebook_has_its_widget_and_the_words_follow_the_setting(number: str) -> None:
    found = widgets_of(number)
    assert any(keys_in(call) >= TURNED[number] for _, call in found), f"{number} has no widget for {TURNED[number]}"
    for _, call in found:
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        named = set(re.findall(r"{(\w+)", given["caption"].value)) | set(re.findall(r"{(\w+)", given["alt"].value))
        assert len(given["alt"].value) > 20 and named and named <= keys_in(call)
        assert "lesson" in given and "name" in given  # the static twin is kept for the report


@NUMBERS
def test_the_static_twin_is_in_both_editions_with_words(number: str) -> None:
    for path in editions(find_source(number)):
        cells = {cell.source: cell for cell in nbformat.read(path, as_version=4).cells}
        for source, _ in widgets_of(number):
            shown = [output for output in cells[source].outputs if "image/png" in output.get("data", {})]
            assert shown and all(len(output.metadata["image/png"]["alt"]) > 20 for output in shown)
            assert "widget-view" not in str(cells[source].outputs)


@pytest.fixture(scope="module")
def timing() -> ModuleType:
    """benchmarks/widgets.py."""
    spec = importlib.util.spec_from_file_location("widget_timing", find_home() / "benchmarks" / "widgets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")  # of libraries; at smoke scale some correlations are of constants
@pytest.mark.parametrize("number", ["07", "08", "10"])  # those that need no training
def test_the_widget_answers_within_200_ms_of_processor_time(
        number: str, timing: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mdelib import course, widgets

    monkeypatch.setenv("MDE_SCALE", "smoke")
    monkeypatch.setenv("MDE_RUNS", str(tmp_path))
    for module in (course, widgets):
        monkeypatch.setattr(module, "display", lambda *_, **__: None)
    found = timing.measure(find_source(number), most=3, rounds=5)
    assert found["pictures"] >= 3 and found["worst_ms"] <= timing.AIM, found


def test_the_measured_answers_of_all_widgets_are_committed_and_quick() -> None:
    stored = measured.recall(measured.WIDGETS)
    rows = {row["notebook"]: row for row in stored["widgets"]}
    assert rows.keys() >= TURNED.keys()
    assert all(rows[number]["worst_ms"] <= stored["aim_ms"] == 200 for number in TURNED)
    table = measured.widget_table()
    assert all(f"| {number} |" in table for number in rows)
    assert "<!-- widgets -->" in (find_home() / "docs" / "book" / "teachers.md").read_text()


PAGE = """<!doctype html><body><div id="here"></div><script type="module">
const values = {size: [60, 80], place: [30, 40], titles: ["a", "b"], label: "A picture.", picture: "", answer: "",
                words: "said"};
const heard = {};
window.saved = [];
const model = {get: (name) => values[name], set: (name, value) => { values[name] = value; },
               on: (name, act) => { heard[name] = act; }, save_changes: () => window.saved.push(values.place)};
window.reply = (words) => { values.words = words; heard["change:words"](); };
SCRIPT
render({model, el: document.getElementById("here")});
</script>"""


def test_a_pixel_is_chosen_with_the_keys_alone_in_a_real_browser(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: run `make setup`")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no browser found: install Debian's chromium (`apt-get install chromium`)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        window: Any = browser.new_page()
        window.set_content(PAGE.replace("SCRIPT", SCRIPT.replace("export default { render };", "")))
        window.wait_for_selector("[role=application]")
        window.keyboard.press("Tab")
        assert window.evaluate("document.activeElement.getAttribute('role')") == "application"
        for key in ("ArrowUp", "Shift+ArrowRight", "ArrowLeft"):
            window.keyboard.press(key)
        assert "row 29, column 49: press Enter" in window.inner_text("[aria-live]")
        assert window.evaluate("saved") == []  # walking asks nothing
        window.keyboard.press("Enter")
        assert window.evaluate("saved") == [[29, 49]]
        window.evaluate("reply('decided by the lamp')")
        assert window.inner_text("[aria-live]") == "decided by the lamp"
        for _ in range(8):
            window.keyboard.press("Shift+ArrowDown")  # not beyond the last row
        window.keyboard.press(" ")
        assert window.evaluate("saved").pop() == [59, 49]
        window.keyboard.press("Tab")  # and out again
        assert window.evaluate("document.activeElement.getAttribute('role')") != "application"
        browser.close()
