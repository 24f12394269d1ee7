"""Writes the reference pages in docs/reference anew from the code, or only names those that are stale (`--check`)."""
# ruff: noqa: INP001 - a script

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import click
from pages import PAGES
from pages.markdown import Undescribed

REFERENCE: Final = Path(__file__).parent / "reference"


def stale(folder: Path = REFERENCE) -> list[str]:
    """Name the pages of a folder that are not what the code says now, or are not there. Raises `Undescribed`."""
    made = {folder / name: make() for name, make in PAGES.items()}
    return [path.name for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def write(folder: Path = REFERENCE) -> None:
    """Write all pages into a folder, or none. Raises `Undescribed`."""
    made = {folder / name: make() for name, make in PAGES.items()}
    folder.mkdir(exist_ok=True)
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; name the pages that are stale, and fail where one is.")
def main(*, check: bool) -> None:
    """Write the reference pages in docs/reference anew from the code."""
    logging.disable()  # the facts that are told for the page of metrics are no news
    try:
        if not check:
            write()
        elif names := stale():
            raise click.ClickException(f"stale in docs/reference: {', '.join(names)}; `make docs` writes them anew")
    except Undescribed as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
