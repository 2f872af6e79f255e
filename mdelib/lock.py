"""requirements.lock: the exact version of every package, with what belongs to Linux alone marked so."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from mdelib.store import atomic_write

__all__ = ["lock_lines", "write_lock"]

HEAD = """\
# Exact pins of everything `make setup` installs (Python 3.11 to 3.13). Written by `make lock`; do not edit.
"""
LINUX_ONLY = ("nvidia-", "cuda-", "triton")
NOT_WINDOWS = ("pexpect", "ptyprocess")
LEFT_OUT = ("mdelib", "pip", "wheel")


def lock_lines() -> list[str]:
    """One line a package, sorted, with environment markers."""
    lines = []
    for package in metadata.distributions():
        name = package.metadata["Name"].lower().replace("_", "-")
        if name in LEFT_OUT:
            continue
        version = package.version.split("+")[0]
        mark = ' ; sys_platform == "linux"' if name.startswith(LINUX_ONLY) else ""
        mark = ' ; sys_platform != "win32"' if name in NOT_WINDOWS else mark
        lines.append(f"{name}=={version}{mark}")
    return sorted(set(lines))


def write_lock(path: Path) -> int:
    """Write the lock file; returns the number of packages."""
    lines = lock_lines()
    atomic_write(path, HEAD + "\n".join(lines) + "\n")
    return len(lines)
