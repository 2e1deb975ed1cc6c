"""`quantcheck dashboard`."""

import os
import sys
from pathlib import Path

import click

__all__ = ["command"]

RESULTS = Path("results")
PORT = 8484


@click.command("dashboard")
@click.argument("folders", metavar="[FOLDER ...]", nargs=-1, type=click.Path(path_type=Path, file_okay=False))
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True,
              help="Port on 127.0.0.1; 0: any free one.")
@click.option("--no-open", is_flag=True, help="Do not open the page in a browser.")
def command(folders: tuple[Path, ...], port: int, no_open: bool) -> None:
    """Show the report of every run in or below the FOLDERs [results], live, until Ctrl-C.

    On this machine alone (127.0.0.1). A running experiment is shown cell by cell, two runs can be held against each
    other. Nothing is measured and nothing in the folders is changed.
    """
    import asyncio
    import threading
    import webbrowser

    from quantcheck.dashboard.server import serve
    from quantcheck.errors import StoreError

    for folder in folders:
        if not folder.is_dir():
            raise StoreError(f"{folder}: no such folder; give one that holds results, as `quantcheck run` writes them")

    def ready(address: str) -> None:
        click.echo(f"dashboard: {address}   (Ctrl-C ends it)")
        sys.stdout.flush()
        # Without a desktop Python would start a browser in this very terminal.
        desktop = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
        if desktop and not no_open:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    asyncio.run(serve(folders or (RESULTS,), port, ready))
