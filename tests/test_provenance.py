"""The cache knows code: what changes a key, and what must not."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mdelib import provenance
from mdelib.provenance import _text, digest, git_state, machine, peak_memory_mb, source_key, stamp, versions

LOSSES = '''
"""A module."""
from toy{n}.parts import helper, SCALE
from toy{n} import parts

WEIGHT = 2.0

def loss(x):
    """Doc."""
    return helper(x) * WEIGHT * parts.other(x)

def unrelated(x):
    return x + 1
'''
PARTS = """
SCALE = 3

def helper(x):
    return x * SCALE

def other(x):
    from toy{n}.late import lazy
    return lazy(x)

class Base:
    def run(self):
        return helper(1)

class Child(Base):
    pass
"""
LATE = """
def lazy(x):
    return x - 1
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a small package, edited on request, and returns its key."""
    monkeypatch.syspath_prepend(str(tmp_path))
    count = iter(range(100))

    def make(name: str = "loss", module: str = "losses", **edits: tuple[str, str]) -> str:
        number = next(count)
        folder = tmp_path / f"toy{number}"
        folder.mkdir()
        for file, text in {"losses": LOSSES, "parts": PARTS, "late": LATE}.items():
            old, new = edits.get(file, ("", ""))
            assert old in text
            (folder / f"{file}.py").write_text(text.replace(old, new, 1).format(n=number))
        (folder / "__init__.py").write_text("")
        found = getattr(importlib.import_module(f"toy{number}.{module}"), name)
        key = _anonymous(found, f"toy{number}")
        for loaded in [m for m in sys.modules if m.startswith(f"toy{number}")]:
            del sys.modules[loaded]
        return key

    return make


def _anonymous(found, package: str) -> str:
    """The key with the package's number taken out, so that only its content counts."""
    original = provenance.digest
    try:
        provenance.digest = lambda value: original(str(value).replace(package, "toy"))
        return source_key(found, package=package)
    finally:
        provenance.digest = original


def test_the_same_code_has_the_same_key(package):
    assert package() == package()
    assert len(package()) == 16


@pytest.mark.parametrize("edit", [
    {"losses": ("* WEIGHT", "/ WEIGHT")},             # the function itself
    {"losses": ("WEIGHT = 2.0", "WEIGHT = 2.5")},     # a constant it uses
    {"parts": ("x * SCALE", "x * SCALE + 1")},        # a function it imports
    {"parts": ("SCALE = 3", "SCALE = 4")},            # a constant that only that function uses
    {"late": ("x - 1", "x - 2")},                     # a function imported inside a function, through a module
])
def test_code_that_can_change_a_result_changes_the_key(package, edit):
    assert package() != package(**edit)


@pytest.mark.parametrize("edit", [
    {"losses": ('"""Doc."""', '"""Another docstring."""')},
    {"losses": ("    return helper", "    # why\n    return helper")},
    {"losses": ("return x + 1", "return x + 2")},     # a function it does not use
])
def test_other_edits_do_not(package, edit):
    assert package() == package(**edit)


def test_a_key_does_not_hang_on_the_order_of_a_set():
    words = f"{{'delta1', 'delta2', 'delta3', 'rmse', {', '.join(map(repr, range(9)))}}}"
    texts = set()
    for seed in "12345":
        run = subprocess.run([sys.executable, "-c", f"from mdelib.provenance import _text; v = {words}; "
                              "print(_text(v), _text({'a': (frozenset(v), 1)}))"], capture_output=True, text=True,
                             env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
        texts.add(run.stdout)
    assert len(texts) == 1


@pytest.mark.parametrize("value", [(), (1,), (1, "a"), [], [1.5, None], {}, {"a": (1, [2])}, "q", 3, None, True])
def test_everything_but_sets_is_written_as_python_does(value):
    assert _text(value) == repr(value)


def test_a_base_class_counts(package):
    assert package("Child", "parts") != package("Child", "parts", parts=("return helper(1)", "return helper(2)"))


def test_the_librarys_own_keys_separate_losses():
    from mdelib import figures, losses

    assert source_key(losses.silog) != source_key(losses.hu_loss)
    assert source_key(figures.show_depth) not in {source_key(losses.silog), source_key(losses.hu_loss)}


def test_digest_ignores_the_order_of_keys_only():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_git_state_outside_a_repository(tmp_path: Path):
    assert git_state(tmp_path) == {"commit": "unknown", "dirty": None}


def test_the_stamp_has_what_a_result_must_carry():
    found = stamp()
    assert {"commit", "dirty", "versions", "device", "device_name", "threads", "made"} <= found.keys()
    assert versions()["torch"].startswith("2.")
    assert machine()["threads"] >= 1
    assert 50 < peak_memory_mb() < 64_000
