"""Text from strangers, made fit to be shown."""

from __future__ import annotations

import re
import unicodedata

from workbench.errors import DataError

__all__ = ["plain", "require_folder", "safe_name"]

#: Control sequences of a terminal: colours, cursor moves, window titles.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
#: Characters that reorder the text around them, so that it reads as another one.
_REORDER = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


def plain(text: str, limit: int = 20_000) -> str:
    """Return text without terminal escapes, control characters and lone surrogates.

    Parameters
    ----------
    text : str
        Anything at all.
    limit : int
        Longest result; a longer text loses its middle, and says so.
    """
    cut = len(text) - limit
    if cut > 0:
        half = limit // 2
        text = f"{text[:half]}\n[{cut:,} characters left out]\n{text[-half:]}"
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n").translate(_REORDER)
    return "".join(each for each in text if each in "\n\t"
                   or unicodedata.category(each) not in ("Cc", "Cs"))  # fmt: skip


def safe_name(name: str) -> str | None:
    """Return a student's name as the name of a folder, or None if it cannot be one.

    Letters of every script are welcome; they are composed (NFC), so that the same name
    from two systems is one student.
    """
    name = unicodedata.normalize("NFC", name).strip()
    bad = any(each in '/\\:*?"<>|' or unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")
              for each in name)  # fmt: skip
    if bad or not name or name[0] in ".-" or name[-1] == "." or len(name.encode()) > 120:
        return None
    return name


def require_folder(where: str, student: str) -> None:
    """Raise unless a student's name is that of one folder, here and in every database.

    It is laxer than :func:`safe_name`: on disk a folder may have stranger names than
    those that ``collect`` gives.

    Raises
    ------
    DataError
        If it is empty, leads elsewhere, or is too long for nbgrader's database.
    """
    if (student in ("", ".", "..") or any(each in "/\\\x00" for each in student)
            or len(student) > 128):  # fmt: skip
        raise DataError(where, "this cannot be the name of a student's folder",
                        given=repr(student[:200]), fix="rename the folder")  # fmt: skip
