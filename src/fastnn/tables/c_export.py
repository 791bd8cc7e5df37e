"""C: the model of a table as one header of C99, which C++ takes too, from a row's values to the answer.

The templates below are filled with the pieces of interchange/c_pieces.py and with what c_columns.py makes of each
column. The members' parameters stand in common arrays, and one loop goes over the members. c_rows.py makes up the rows
that the self-test records. A header's text depends on the arguments of `to_c` alone, and of the path on the file's name
alone.
"""

from __future__ import annotations

import json
import os
from textwrap import indent
from typing import TYPE_CHECKING, Any

import numpy as np

from .._version import __version__
from ..interchange.c import finite_copy
from ..interchange.c_pieces import (
    COMMAND,
    DENSE,
    MEMORY,
    SELF_TEST,
    body,
    drawing,
    functions,
    guarded,
    legend,
    names,
    parameters,
)
from ..interchange.c_self_test import rounding, scale, tolerance
from ..interchange.c_text import array, checked_file, commented, literal, string, words_of
from ..interchange.contents import in_json
from ..storage.model_file import replace_file
from .c_columns import PARTS, Columns
from .c_rows import made_up_rows
from .exports import checked_members

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._types import Path
    from ..network import Network
    from .kinds import Column
    from .recipe import Recipe

COMMENT = """\
/* {file}: {target}, predicted from {n_columns} of a table by {n_members} with {n_parameters} parameters in
 * float, written by fastnn {version}:
 *
 *     {drawing}
{legend} *
 * How to use it, from C99 or C++, linking with -lm:
 *
 *     #include "{file}"
 *
 *     {name}_row row;
 *     double output[{NAME}_OUTPUTS];
 *     {use}
 *
 * All members of the row must be set. {name}_predict allocates nothing, keeps no state and needs {stack} bytes of the
 * stack. Include this file in one source file: each that does has its own copy of the weights. Here are {N_TESTS}
 * recorded rows with their answers, to see that your compiler computes the same:
 *
{command} *
 * How columns are read and encoded, and what outputs mean, in JSON:
 *
 * {recipe}
 */
"""
# {whether there are classes: how `predict` is called}
USE = {True: "int most_probable = {name}_predict(&row, output);", False: "{name}_predict(&row, output);"}
CODE = """\
#include <math.h>
{includes}
#define {NAME}_OUTPUTS {n_outputs}

{memory}
{row}
{parameters}
{columns}
{dense}
{functions}
{predict}{names}
{self_test}"""
PREDICT = """\
/* From a row to {NAME}_OUTPUTS numbers. Returns the place of the largest. */
static inline int {name}_predict(const {name}_row *row, double *output)
{{
    float features[{width}], answer[{NAME}_OUTPUTS], *to = features;
{buffers}    int member, j, best = 0;
{columns}    for (j = 0; j < {NAME}_OUTPUTS; j++)
        output[j] = 0;
    for (member = 0; member < {n_members}; member++) {{
{calls}        for (j = 0; j < {NAME}_OUTPUTS; j++)
            output[j] += (double)answer[j];
    }}
    for (j = 0; j < {NAME}_OUTPUTS; j++) {{
        output[j] = {finished};
        if (output[j] > output[best])
            best = j;
    }}
    return best;
}}
"""
RUN = """\
        double output[{NAME}_OUTPUTS];
        int good = 1;
        {name}_predict(&{name}_test_rows[test], output);
"""
ROUNDING = 4 * np.finfo(np.float64).eps     # of the mean of a target, which is added to outputs


def to_c(recipe: Recipe, networks: Sequence[Network], path: Path) -> None:
    """Writes the model to one C header that needs nothing but the standard library: see the comment on top of it.

    Names in C begin with the name of the file. titanic.h has the type `titanic_row`, whose members are called as the
    columns as far as C can: double for numbers (NAN is a gap) and for dates (seconds since 1970, NAN is a gap), const
    char * in UTF-8 for categories (NULL or empty is a gap), without spaces around the text. `titanic_predict(&row,
    output)` fills TITANIC_OUTPUTS numbers of type double: probabilities, or the one number. It returns the place of the
    most probable class, whose name is `titanic_class(place)`. The recipe stands in the first comment, in JSON.
    The self-test's rows are made up: nothing of a table gets into the file but the recipe.

    Parameters
    ----------
    recipe : Recipe
    networks : the members, all of one shape
    path : str or path

    Raises
    ------
    ValueError
        For networks that do not belong to the recipe, or are not finite; for a file that has the name of a header of
        the C library, or one that no `#include` can name.
    OSError
        Where the file cannot be written.
    """
    file = checked_file(os.path.basename(os.fsdecode(path)))
    members = [finite_copy(member) for member in checked_members(recipe, networks)]
    replace_file(path, header(recipe, members, file, made_up_rows(recipe)).encode())


def header(recipe: Recipe, members: Sequence[Network], file: str, recorded: Mapping[str, Column]) -> str:
    """The text of the header `file`, whose self-test records these rows."""
    first, n_features = members[0], len(recipe.encoding.names())
    words = words_of(file, first.dtype)
    columns = Columns(recipe, words)
    arrays, calls = body(first, words, "features", "answer", "member")
    named = {} if recipe.classes is None else {"classes": list(map(str, recipe.classes))}
    stack = sum(4 * width for _, width in arrays) + 4 * n_features + 12 * recipe.n_outputs
    comment = COMMENT.format(
        **words, target=commented(recipe.target), n_columns=counted(len(recipe.readings), "column"),
        n_members=counted(len(members), "network"), n_parameters=sum(member.n_parameters for member in members),
        version=__version__, drawing=drawing(first), legend=legend(named), use=USE[bool(named)].format(**words),
        stack=stack + 8 * len(PARTS) * columns.has_dates, N_TESTS=len(next(iter(recorded.values())).values),
        command=COMMAND.format(**words), recipe=in_lines(recipe.as_metadata(), "\n * "))
    buffers = [f"    float {buffer}[{width}];\n" for buffer, width in arrays]
    if columns.has_dates:
        buffers.append(f"    double parts[{len(PARTS)}];\n")
    predict = PREDICT.format(
        **words, width=n_features, n_members=len(members), columns=columns.statements, buffers="".join(buffers),
        calls=indent(calls, "    "), finished=finished(recipe, len(members), columns.words))
    return comment + guarded(words, CODE.format(
        **words, n_outputs=recipe.n_outputs, memory=MEMORY.format(**words), row=columns.row(),
        includes="#include <stdlib.h>\n#include <string.h>\n" if columns.has_numerals else "",
        parameters=parameters(words, members), columns=columns.functions(), dense=DENSE.format(**words),
        functions=functions(words, first.activations), predict=predict, names=names(words, named),
        self_test=self_test(recipe, members, columns.words, recorded)))


def counted(n: int, thing: str) -> str:
    """3 columns, 1 network."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def finished(recipe: Recipe, n_members: int, words: Mapping[str, str]) -> str:
    """The answer, from the sum of the members' outputs."""
    mean = f"output[j] / {n_members}"
    if recipe.classes is not None:
        return mean
    return f"{literal(recipe.mean, words)} + {literal(recipe.scale, words)} * ({mean})"


# The self-test


def self_test(recipe: Recipe, members: Sequence[Network], words: Mapping[str, str],
              recorded: Mapping[str, Column]) -> str:
    """The part of the header that records rows and answers."""
    n = len(next(iter(recorded.values())).values)
    rows = ",\n    ".join("{" + ", ".join(cell(recorded[name], row, words) for name in recipe.readings) + "}"
                          for row in range(n))
    answers = recipe.answers(members, recorded)
    return SELF_TEST.format(
        **words, N_TESTS=n, run=RUN.format(**words), bound=literal(allowed(recipe, members, recorded), words),
        tests=f"static const {words['name']}_row {words['name']}_test_rows[{n}] = {{\n    {rows}\n}};\n"
        + array(words, "test_outputs", answers))


def cell(column: Column, row: int, words: Mapping[str, str]) -> str:
    """A value of a recorded row in C."""
    value: Any = column.values[row]
    if column.kind == "category":
        return string(value or "")
    if column.kind == "date":
        value = np.nan if np.isnat(value) else float(value.astype(np.int64))
    return "(double)NAN" if np.isnan(value) else literal(float(value), words)


def allowed(recipe: Recipe, members: Sequence[Network], recorded: Mapping[str, Column]) -> float:
    """By how much an answer of the self-test may be wrong: by the members' rounding, as it was measured."""
    X = recipe.encoding.apply(recorded)
    errors = []
    for member in members:
        outputs = member.predict(X)
        size = scale(outputs) + float(np.abs(outputs).max())
        errors.append(size * tolerance(member, rounding(member, X, outputs)))
    return float(recipe.scale * np.mean(errors) + ROUNDING * abs(recipe.mean))


# The recipe in a comment


def in_lines(value: object, newline: str) -> str:
    """A plain value in JSON within a comment of C; each dictionary but the innermost has a line for each part."""
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if not any(map(holds_parts, parts)):
        return in_comment(in_json(value))
    texts = [in_lines(part, f"{newline} ") for part in parts]
    if isinstance(value, dict):
        texts = [f"{in_comment(in_json(key))}: {text}" for key, text in zip(value, texts, strict=True)]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}{newline} " + f",{newline} ".join(texts) + end


def holds_parts(value: object) -> bool:
    """Whether a value is a dictionary, or holds one at any depth."""
    return isinstance(value, dict) or (isinstance(value, list) and any(map(holds_parts, value)))


def in_comment(text: str) -> str:
    """JSON that does not end a comment, and is printable."""
    text = "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)
    return text.replace("*/", r"*\/").replace("/*", r"/\u002a").replace("??", r"?\u003f")
