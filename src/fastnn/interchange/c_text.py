"""C's spelling of numbers, texts and names, and the names of files that C can include.

`words` are what templates of C are filled with: T is the type of numbers, f the ending of its literals and of functions
of <math.h>, name and NAME the prefix of what a header defines. c_pieces.py and the writers of headers call this.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._types import Array

# A file of such a name would be included instead of the standard header.
STANDARD_HEADERS = frozenset([
    "alloca", "assert", "complex", "ctype", "endian", "errno", "features", "fenv", "float", "inttypes", "iso646",
    "limits", "locale", "malloc", "math", "memory", "pthread", "setjmp", "signal", "stdalign", "stdarg", "stdatomic",
    "stdbit", "stdbool", "stdc-predef", "stdckdint", "stddef", "stdint", "stdio", "stdlib", "stdnoreturn", "string",
    "strings", "tgmath", "threads", "time", "uchar", "unistd", "values", "wchar", "wctype"])


def words_of(file: str, dtype: str) -> dict[str, str]:
    """The words for a header of this name whose numbers have this dtype."""
    single, name = dtype == "float32", identifier(os.path.splitext(file)[0])
    return {"T": "float" if single else "double", "f": "f" if single else "", "name": name, "NAME": name.upper(),
            "file": file, "quoted": shlex.quote(f"./{file}" if file.startswith("-") else file)}


def checked_file(file: str) -> str:
    """The name of a file, if C can include it and the C library has no header of that name."""
    stem, ending = os.path.splitext(file.lower())
    if ending == ".h" and stem in STANDARD_HEADERS:
        raise ValueError(f"path ends with {file!r}, which is the name of a header of the C library, and would be read "
                         "in its place; give the file another name")
    if not file.isprintable() or '"' in file or "\\" in file:
        raise ValueError(f"path ends with {file!r}, which no #include can name; leave out quotes, backslashes and "
                         "characters that cannot be printed")
    return file


def identifier(stem: str, otherwise: str = "network") -> str:
    """A name in C, such as the prefix of others, from the stem of a file's name. Letters that C lacks become their code
    points. `otherwise` is what it begins with, if it would not begin with a letter."""
    words = re.sub(r"[^\x00-\x7f]", lambda match: f"u{ord(match[0]):04x}", stem)
    words = re.sub("[^A-Za-z0-9]+", "_", words).strip("_")
    return words if words[:1].isalpha() else f"{otherwise}_{words}".strip("_")


def array(words: Mapping[str, str], name: str, values: Array) -> str:
    """The definition of an array in C, a few numbers a line."""
    numbers = [literal(value, words) for value in values.ravel().tolist()]
    lines = [", ".join(numbers[start:start + 8]) for start in range(0, len(numbers), 8)]
    return (f"static const {words['NAME']}_MEMORY {words['T']} {words['name']}_{name}[{len(numbers)}] = {{\n    "
            + ",\n    ".join(lines) + "\n};\n")


def literal(value: float, words: Mapping[str, str]) -> str:
    """A number in C, with as many digits as it takes to read the same number back."""
    text = f"{value:.9g}" if words["f"] else f"{value:.17g}"
    return text + ("" if "." in text or "e" in text else ".0") + words["f"]


def string(text: str) -> str:
    """A string literal in C, in UTF-8. All but plain ASCII is in octal numbers, which every compiler reads alike."""
    return '"' + "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}"
                         for byte in utf8(text)) + '"'


def utf8(text: str) -> bytes:
    """A text as bytes, also where it holds lone surrogates."""
    return text.encode("utf-8", "surrogatepass")


def commented(text: str) -> str:
    """A text within a comment in C: nothing in it begins or ends a comment."""
    text = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return text.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")
