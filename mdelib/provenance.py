"""Where a number comes from: the code, the commit, the versions and the machine behind a result.

`source_key` is what makes the cache know code: it hashes the functions and classes that can change a result,
found by following the names they use, and nothing else. Editing a loss changes the key of what was trained
with it; editing a plot, a comment or a docstring changes no key.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import json
import os
import platform
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["digest", "find_home", "git_state", "installed", "machine", "peak_memory_mb", "source_key", "stamp",
           "versions"]

PACKAGES = ("torch", "torchvision", "timm", "numpy", "lightning-fabric", "segmentation-models-pytorch", "trimesh",
            "embreex", "scikit-image", "safetensors")
CONSTANTS = (int, float, str, bytes, bool, type(None))


def find_home() -> Path:
    """The folder of the pack: the one with `notebooks/` and `experiments/` beside `mdelib/` (or $MDE_HOME)."""
    return Path(os.environ.get("MDE_HOME", Path(__file__).resolve().parent.parent))


def digest(value: Any) -> str:
    """Sixteen hex digits of anything JSON can hold, the same on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def source_key(*objects: Any, package: str = "mdelib", neutral: tuple[str, ...] = ()) -> str:
    """Hash the code of functions and classes together with all code of `package` that they use.

    Names are followed through functions, classes, base classes, module attributes and imports inside function
    bodies. Docstrings, comments and layout do not count; module-level constants do, by value. Tables of
    functions (a registry such as ``LOSSES``) are not followed: name the entry that is used instead.

    Args:
        objects: functions or classes.
        package: code outside this top-level package is known by its version instead (see `versions`).
        neutral: modules of the package that cannot change a result, for example the one that writes files.

    Returns:
        Sixteen hex digits.
    """
    seen: dict[str, str] = {}
    waiting = list(objects)
    while waiting:
        item = inspect.unwrap(waiting.pop())
        label = f"{item.__module__}.{item.__qualname__}"
        if label in seen:
            continue
        tree = _bare_tree(item)
        constants, found = _uses(item, tree, package)
        seen[label] = ast.dump(tree) + "".join(constants)
        waiting += [used for used in found if used.__module__ not in neutral]
    return digest(sorted(seen.items()))


def _bare_tree(item: Any) -> ast.AST:
    tree = ast.parse(textwrap.dedent(inspect.getsource(item)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


def _uses(item: Any, tree: ast.AST, package: str) -> tuple[list[str], list[Any]]:
    """The constants (as text) and the package's own functions and classes that the code of `item` names."""
    scope = item.__globals__ if isinstance(item, FunctionType) else vars(sys.modules[item.__module__])
    values: list[tuple[str, Any]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == package:
            module = importlib.import_module(node.module)
            values += [(alias.name, getattr(module, alias.name, None)) for alias in node.names]
        elif isinstance(node, ast.Name) and node.id in scope:
            values.append((node.id, scope[node.id]))
        elif isinstance(node, ast.Attribute):
            chain = _chain(node)
            value = scope.get(chain[0]) if chain else None
            for name in chain[1:]:
                value = getattr(value, name, None) if isinstance(value, ModuleType) else None
            values.append((".".join(chain), value))
    constants, found = [], []
    for name, value in values:
        owner = getattr(value, "__module__", None) or ""
        if isinstance(value, FunctionType | type) or callable(getattr(value, "__wrapped__", None)):
            if owner.split(".")[0] == package:
                found.append(value)
        elif _is_constant(value) or (owner.split(".")[0] == package and not callable(value)):
            constants.append(f"{name}={_text(value)}")
    return sorted(set(constants)), found


def _chain(node: ast.Attribute) -> list[str]:
    names, current = [node.attr], node.value
    while isinstance(current, ast.Attribute):
        names, current = [current.attr, *names], current.value
    return [current.id, *names] if isinstance(current, ast.Name) else []


def _text(value: Any) -> str:
    """As `repr`, but a set is sorted: its own order changes from process to process."""
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({sorted(map(_text, value))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_text(key)}: {_text(part)}' for key, part in value.items())}}}"
    if type(value) in (tuple, list) and value:
        inside = ", ".join(map(_text, value)) + ("," if type(value) is tuple and len(value) == 1 else "")
        return f"({inside})" if type(value) is tuple else f"[{inside}]"
    return repr(value)


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple | list | frozenset | set):
        return all(_is_constant(part) for part in value)
    if isinstance(value, dict):
        return all(_is_constant(part) for part in (*value, *value.values()))
    return isinstance(value, CONSTANTS) and value is not None


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can move a number."""
    return {"python": platform.python_version(), **installed(PACKAGES)}


def installed(names: Iterable[str]) -> dict[str, str]:
    """Package -> its version, or "not installed"."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@cache
def git_state(folder: Path | None = None) -> dict[str, Any]:
    """The commit the pack stands at, and whether files that can change a result differ from it."""
    home = folder or find_home()
    watched = ["mdelib", "experiments", "data_scripts", "weights", "notebooks/src"]

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=home, capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = ask("rev-parse", "--short=12", "HEAD")
    status = ask("status", "--porcelain", "--", *watched)
    return {"commit": commit or "unknown", "dirty": bool(status) if status is not None else None}


def machine(device: str | torch.device = "cpu") -> dict[str, Any]:
    """The device a run used, in words, and its threads."""
    import torch  # here, so that what needs no network does not wait for it

    kind = torch.device(device).type
    name = torch.cuda.get_device_name(device) if kind == "cuda" else _cpu_name()
    return {"device": kind, "device_name": name, "threads": torch.get_num_threads(), "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}"}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_memory_mb(device: str | torch.device = "cpu") -> int:
    """The most memory this process has held so far, in MiB (on a GPU: of the GPU's)."""
    import torch

    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device) / 2**20)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / 2**10 if sys.platform != "darwin" else peak / 2**20)


def stamp(device: str | torch.device = "cpu") -> dict[str, Any]:
    """Commit, versions, machine and time: what every result file carries beside its own parameters."""
    return {**git_state(), "versions": versions(), **machine(device),
            "made": datetime.now(UTC).isoformat(timespec="seconds")}
