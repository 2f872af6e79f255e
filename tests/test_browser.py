"""The pack in a real browser: JupyterLab runs a notebook, and its widget answers to the mouse and to the keys."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mdelib.editions import list_sources
from mdelib.provenance import find_home

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: run `make setup`")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if BROWSER is None:
    pytest.skip("no browser found: install Debian's chromium (`apt-get install chromium`)", allow_module_level=True)

NOTEBOOK = next(source.stem for source in list_sources() if source.stem.startswith("03"))
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
SETTINGS = {  # no question about news may lie over the notebook, and every cell is drawn, also those out of sight
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
    "notebook-extension/tracker": '{"windowingMode": "none"}',
}
CELLS = """() => {
    const cells = [...window.jupyterapp.shell.currentWidget.content.model.cells].filter(c => c.type === "code");
    const outputs = cells.flatMap(c => c.toJSON().outputs);
    return {cells: cells.length, run: cells.filter(c => c.executionCount).length,
            busy: window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status !== "idle",
            errors: outputs.filter(o => o.output_type === "error").map(o => o.ename + ": " + o.evalue)};
}"""
PICTURE = ".widget-output img, .jupyter-widgets-output-area img"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on a copy of one notebook, with a home of its own; the address that opens it."""
    home = tmp_path_factory.mktemp("lab")
    (home / "notebooks").mkdir()
    shutil.copy(find_home() / "notebooks" / f"{NOTEBOOK}.ipynb", home / "notebooks")
    for name, text in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    port, token = free_port(), secrets.token_hex(16)
    environment = {name: value for name, value in os.environ.items()
                   if name != "MDE_HEADLESS" and not name.startswith("JUPYTER")}
    environment |= {"HOME": str(home), "JUPYTER_CONFIG_DIR": str(home / "config"), "OMP_NUM_THREADS": "1",
                    "JUPYTER_DATA_DIR": str(home / "data"), "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
                    "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "MDE_SCENES": str(home / "scenes"),
                    "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"), "IPYTHONDIR": str(home / "ipython"),
                    "MDE_SCALE": "smoke", "MDE_RUNS": str(home / "runs"), "PYTHONPATH": str(find_home())}
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}",
             "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
             f"--ServerApp.root_dir={home / 'notebooks'}", "--LabApp.expose_app_in_browser=True"],
            cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            api = f"http://127.0.0.1:{port}/api?token={token}"
            _wait(lambda: _answers(api, server, home / "log"), 120, "JupyterLab")
            yield f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK}.ipynb?token={token}"
        finally:
            server.terminate()  # it ends its kernels before itself
            server.wait(30)


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    """The notebook in a browser window, with every cell run from JupyterLab's own menu."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        window = browser.new_page(viewport={"width": 1280, "height": 900})
        window.set_default_timeout(120_000)  # a machine may be busy; idle, all of this file takes half a minute
        window.goto(address)
        window.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
                                 "?.status === 'idle'")
        window.get_by_role("menuitem", name="Run", exact=True).click()
        window.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        _wait(lambda: (seen := window.evaluate(CELLS))["errors"] or (seen["run"] == seen["cells"] and
                                                                     not seen["busy"]), 400, "the notebook")
        yield window
        browser.close()


def test_every_cell_runs_without_an_error(page: Any) -> None:
    seen = page.evaluate(CELLS)
    assert seen["errors"] == [] and seen["run"] == seen["cells"] > 20


def test_the_slider_moves_with_the_mouse_and_the_picture_follows(page: Any, tmp_path: Path) -> None:
    handle, before, value = _slider(page)
    box, track = handle.bounding_box(), page.locator(".noUi-base").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(track["x"] + 0.1 * track["width"], box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    _has_answered(page, before, value)
    folder = Path(os.environ.get("MDE_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / "slider.png")
    assert (folder / "slider.png").stat().st_size > 20_000


def test_the_slider_moves_with_the_arrow_keys(page: Any) -> None:
    handle, before, value = _slider(page)
    handle.focus()
    page.keyboard.press("ArrowRight")
    _has_answered(page, before, value)
    assert page.evaluate(CELLS)["errors"] == []


def test_the_picture_says_in_words_what_it_shows_now(page: Any) -> None:
    value = page.locator(".widget-readout").first.inner_text()
    assert f": {value} bins" in page.locator(PICTURE).first.get_attribute("alt")


def _slider(page: Any) -> tuple[Any, str, str]:
    """The handle of the first slider, the picture below it, and the value beside it."""
    handle = page.locator(".noUi-handle").first
    handle.scroll_into_view_if_needed()
    return handle, page.locator(PICTURE).first.get_attribute("src"), page.locator(".widget-readout").first.inner_text()


def _has_answered(page: Any, before: str, value: str) -> None:
    """Another picture is there, and another value; the wait for it is printed."""
    begun = time.perf_counter()
    page.wait_for_function("([where, before]) => { const one = document.querySelector(where);"
                           " return one && one.complete && one.src !== before; }", arg=[PICTURE, before])
    seconds = time.perf_counter() - begun
    after = page.locator(PICTURE).first.get_attribute("src")
    print(f"the picture answered after {1e3 * seconds:.0f} ms")
    assert after.startswith("data:image/png;base64,") and after != before
    assert page.locator(".widget-readout").first.inner_text() != value
    assert seconds < 10  # the wish is 0.2 s on an idle machine; this one may be busy


def _wait(done: Callable[[], Any], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"{what} was not ready after {seconds:.0f} s"
        time.sleep(0.2)


def _answers(address: str, server: subprocess.Popen, log: Path) -> bool:
    assert server.poll() is None, f"JupyterLab ended: {log.read_text()[-2000:]}"
    try:
        with urllib.request.urlopen(address, timeout=5) as reply:
            return reply.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
