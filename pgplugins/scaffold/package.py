"""Writing a plugin package."""

from __future__ import annotations

from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

from pgplugins.errors import InputError
from pgplugins.scaffold.names import Names

FILES: Final = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "src/$package/__init__.py": "plugin.py",
    "src/$package/estimator.py": "estimator.py",
    "src/$package/py.typed": "py.typed",
    "tests/test_$estimator.py": "test_estimator.py",
}
"""Where each file goes, and which template it is made from."""


def write_package(names: Names, directory: Path) -> list[Path]:
    """Write an installable plugin package with one estimator that is right.

    Args:
        names: What it and its parts are called.
        directory: Created, with its parents; may exist if it is empty.

    Returns:
        The files, relative to ``directory``.

    Raises:
        InputError: The directory is not empty, or cannot be written to.

    Example:
        >>> import tempfile
        >>> written = write_package(Names("two_point"), Path(tempfile.mkdtemp()))
        >>> print(written[0], written[3])
        pyproject.toml src/pgplugins_two_point/estimator.py
    """
    words = _words(names)
    templates = files("pgplugins.scaffold") / "template"
    package = {
        Path(Template(target).substitute(words)): Template(
            (templates / f"{template}.template").read_text(encoding="utf-8")
        ).substitute(words)
        for target, template in FILES.items()
    }
    try:
        if directory.exists() and any(directory.iterdir()):
            raise InputError(
                f"{directory} is not empty, and nothing in it is overwritten. Name a "
                "directory that is new or empty: --output DIR."
            )
        for path, text in package.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The package cannot be written to {directory} ({error}). Name a directory "
            "that you may write to: --output DIR."
        ) from error
    return list(package)


def _words(names: Names) -> dict[str, str]:
    return {
        **asdict(names),
        "distribution": names.distribution,
        "package": names.package,
        "class_name": names.class_name,
    }
