"""Where in the user's code something happens."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import pyro
import torch

import pgplugins.errors


class Place(NamedTuple):
    """A line of a file."""

    file: str
    line: int


def _folder(file: str | None) -> str:
    assert file is not None
    return str(Path(file).resolve().parent) + "/"


_TORCH = _folder(torch.__file__)
_OWN = _folder(pgplugins.errors.__file__)
_LINT = _folder(__file__)
_LIBRARIES = (_TORCH, _OWN, _folder(pyro.__file__))
_kinds: dict[str, int] = {}


def _kind(file: str) -> int:
    """0 for the user's code, 1 for what is looked through, 2 for a library that acts.

    Pyro and this library are tested for the products that they form themselves.
    """
    kind = _kinds.get(file)
    if kind is None:
        path = file.replace("\\", "/")
        if path.startswith((_TORCH, _LINT)):
            kind = 1
        else:
            kind = 2 if path.startswith(_LIBRARIES) else 0
        _kinds[file] = kind
    return kind


def caller() -> Place | None:
    """The line that called torch, or None if it is a library's own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _kind(frame.f_code.co_filename) == 1:
        frame = frame.f_back
    if frame is None or _kind(frame.f_code.co_filename):
        return None
    return Place(frame.f_code.co_filename, frame.f_lineno)


def users_line() -> Place:
    """The innermost line that is no library's."""
    frame = sys._getframe(1)
    while _kind(frame.f_code.co_filename) and (outer := frame.f_back) is not None:
        frame = outer
    return Place(frame.f_code.co_filename, frame.f_lineno)
