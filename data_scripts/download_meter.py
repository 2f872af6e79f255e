"""Fetch the METER authors' weights (6 MB) and check it: python data_scripts/download_meter.py"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdelib.data import data_root
from mdelib.data.fetch import fetch_meter


def main(
    out: Annotated[Path | None, typer.Option(help="data folder; default: MDE_DATA, else data")] = None,
) -> None:
    """Fetch the METER authors' weights (6 MB) (MIT licence, https://github.com/lorenzopapa5/METER)."""
    try:
        fetch_meter(data_root(out))
    except (ValueError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
