"""Files that a user names for a verb's result."""

from pathlib import Path

from quantcheck.errors import StoreError

__all__ = ["write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Writes `text` whole or not at all; what was there stays until then. Raises `StoreError` where that fails.

    A link, a pipe or a device (/dev/stdout) is written to as it is: it must not be replaced by a file.
    """
    as_it_is = path.is_symlink() or (path.exists() and not path.is_file())
    part = path if as_it_is else path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        if not as_it_is:
            part.replace(path)
    except OSError as error:
        if not as_it_is:
            part.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written ({error.strerror}); free space or give another file") from error
