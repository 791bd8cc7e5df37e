"""C: a Network as one header of C99, which C++ takes too, with no dependency but the standard library.

The templates below are the pieces of the header. Its text depends on the arguments of `to_c` alone, and of the path on
the file's name alone. Numbers have 9 or 17 significant digits, so they read back as the same floats. c_self_test.py
chooses the rows that the header's self-test records.
"""

from __future__ import annotations

import copy
import os
import re
import shlex
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from .._version import __version__
from ..storage.model_file import replace_file
from ..training.trainable import checked_network
from .c_self_test import checked_inputs, rounding, rows_to_record, scale, tolerance
from .contents import checked_names, layers
from .spellings import SPELLINGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._types import Array, ArrayLike, FloatArray, Path
    from ..network import Network

# Values of an element z. They are finite wherever the result is: the argument of exp is never positive
# in a quotient or a logarithm. A NaN stays one. $ marks the functions of OWN.
FORMULAS = {name: spelling.c for name, spelling in SPELLINGS.items() if spelling.c is not None}
# Functions of <math.h> that avr-libc lacks, each with a body in its place: expm1 for z < 0 and log1p for 0 < z <= 1,
# as the formulas need them. The numbers of terms are for float and double; more would change no digit.
OWN: dict[str, tuple[tuple[int, int], str]] = {
    "expm1": ((10, 17), """\
    REAL term = z, sum = z;
    int k;
    if (z < {-0.5})
        return exp@(z) - 1;
    for (k = 2; k < TERMS; k++) {
        term *= z / (REAL)k;
        sum += term;
    }
    return sum;
"""),
    "log1p": ((9, 18), """\
    const REAL s = z / (2 + z);           /* log((1 + s) / (1 - s)) */
    REAL sum = 0;
    int k;
    for (k = TERMS; k >= 0; k--)
        sum = sum * s * s + 1 / (REAL)(2 * k + 1);
    return 2 * s * sum;
"""),
    "erfc": ((28, 60), """\
    const REAL a = fabs@(z);
    REAL term = a, sum = a, upper;
    int k;
    if (a < 2) {                            /* 1 - erf(a), by its series */
        for (k = 1; k < TERMS; k++) {
            term *= 2 * a * a / (REAL)(2 * k + 1);
            sum += term;
        }
        upper = 1 - {1.1283791670955125739} * exp@(-a * a) * sum;
    } else {                                /* the continued fraction, from its end */
        for (k = TERMS; k > 0; k--)
            sum = a + {0.5} * (REAL)k / sum;
        upper = {0.56418958354775628695} * exp@(-a * a) / sum;
    }
    return z < 0 ? 2 - upper : upper;
"""),
}
OWN_FUNCTIONS = """\
/* What avr-libc lacks is written out for it, and wherever {NAME}_OWN_MATH is defined. */
#if defined(__AVR__) || defined({NAME}_OWN_MATH)
{own}#else
{given}#endif
"""
FUNCTION = "static inline {T} {name}_{function}({T} z)\n{{\n{statements}}}\n"
ELEMENT_WISE = """\
static inline void {name}_{activation}({T} *y, int n)
{{
    int j;
    for (j = 0; j < n; j++) {{
        const {T} z = y[j];
        y[j] = {formula};
    }}
}}
"""
SOFTMAX = """\
static inline void {name}_softmax({T} *y, int n)
{{
    {T} largest = y[0], sum = 0;
    int j;
    for (j = 1; j < n; j++)
        if (y[j] > largest)
            largest = y[j];
    for (j = 0; j < n; j++) {{
        y[j] = exp{f}(y[j] - largest);
        sum += y[j];
    }}
    for (j = 0; j < n; j++)
        y[j] /= sum;
}}
"""
HEADER = """\
/* {file}: a dense network with {n_parameters} parameters in {T}, written by fastnn {version}:
 *
 *     {drawing}
{legend} *
 * How to use it, from C99 or C++, linking with -lm:
 *
 *     #include "{file}"
 *
 *     {T} input[{NAME}_INPUTS], output[{NAME}_OUTPUTS];
 *     {name}_predict(input, output);
 *
 * It allocates nothing, keeps no state and needs {stack} bytes of the stack. Include it in one source file: each that
 * does has its own copy of the weights. -D{NAME}_MEMORY=__flash keeps them in the flash memory of an AVR (avr-gcc, C).
 * Here are {N_TESTS} recorded pairs of inputs and outputs, to see that your compiler computes the same:
 *
 *     cc -std=c99 -D{NAME}_SELF_TEST_MAIN -x c {quoted} -lm -o {name}_test && ./{name}_test
 *
 * {NAME}_SELF_TEST alone defines {name}_self_test(), for a program of your own.
 */
#ifndef {NAME}_H
#define {NAME}_H
#define {NAME}_H_{digest}

{code}
#elif !defined({NAME}_H_{digest})
#error "this header and another one are different, but both have names that begin with {name}_: rename one of the files"
#endif
"""
CODE = """\
#include <math.h>

#define {NAME}_INPUTS {n_inputs}
#define {NAME}_OUTPUTS {n_outputs}

/* Where constants are kept: a qualifier such as __flash, or nothing. */
#ifndef {NAME}_MEMORY
#define {NAME}_MEMORY
#endif

{parameters}
/* y := x @ weights + biases, for x of n_in numbers and weights of n_in rows. */
static inline void {name}_dense({T} *y, const {T} *x, const {NAME}_MEMORY {T} *weights,
    const {NAME}_MEMORY {T} *biases, int n_in, int n_out)
{{
    int i, j;
    for (j = 0; j < n_out; j++)
        y[j] = 0;
    for (i = 0; i < n_in; i++, weights += n_out)
        for (j = 0; j < n_out; j++)
            y[j] += x[i] * weights[j];
    for (j = 0; j < n_out; j++)
        y[j] += biases[j];
}}

{functions}
/* From {NAME}_INPUTS numbers to {NAME}_OUTPUTS numbers, which must not overlap. */
static inline void {name}_predict(const {T} *input, {T} *output)
{{
{buffers}{calls}}}
{names}
#if defined({NAME}_SELF_TEST) || defined({NAME}_SELF_TEST_MAIN)

{tests}
/* How many of the {N_TESTS} recorded pairs come out otherwise, by more than rounding. */
static inline int {name}_self_test(void)
{{
    int test, j, failed = 0;
    for (test = 0; test < {N_TESTS}; test++) {{
        const {NAME}_MEMORY {T} *expected = {name}_test_outputs + test * {NAME}_OUTPUTS;
        {T} input[{NAME}_INPUTS], output[{NAME}_OUTPUTS], largest = 0;
        int good = 1;
        for (j = 0; j < {NAME}_INPUTS; j++)
            input[j] = {name}_test_inputs[test * {NAME}_INPUTS + j];
        {name}_predict(input, output);
        for (j = 0; j < {NAME}_OUTPUTS; j++)
            if (fabs{f}(expected[j]) > largest)
                largest = fabs{f}(expected[j]);
        for (j = 0; j < {NAME}_OUTPUTS; j++)
            if (!(fabs{f}(output[j] - expected[j]) <= {tolerance} * ({size} + largest)))    /* NaN is wrong too */
                good = 0;
        failed += !good;
    }}
    return failed;
}}

#endif
#ifdef {NAME}_SELF_TEST_MAIN

#include <stdio.h>

int main(void)
{{
    const int failed = {name}_self_test();
    printf("%d of {N_TESTS} recorded predictions failed\\n", failed);
    return failed != 0;
}}

#endif
"""
NAMES = """
/* What {what} are called, counted from 0, in UTF-8. */
static inline const {NAME}_MEMORY char *{name}_{function}(int index)
{{
    static const {NAME}_MEMORY char names[{n}][{width}] = {{
        {strings}
    }};
    return names[index];
}}
"""
ONE_OF = {"columns": "column", "classes": "class"}
# A file of such a name would be included instead of the standard header.
STANDARD_HEADERS = frozenset([
    "alloca", "assert", "complex", "ctype", "endian", "errno", "features", "fenv", "float", "inttypes", "iso646",
    "limits", "locale", "malloc", "math", "memory", "pthread", "setjmp", "signal", "stdalign", "stdarg", "stdatomic",
    "stdbit", "stdbool", "stdc-predef", "stdckdint", "stddef", "stdint", "stdio", "stdlib", "stdnoreturn", "string",
    "strings", "tgmath", "threads", "time", "uchar", "unistd", "values", "wchar", "wctype"])


def to_c(network: Network, path: Path, *, inputs: ArrayLike | None = None, columns: Iterable[object] | None = None,
         classes: Iterable[object] | None = None) -> None:
    """Writes the network to one C header that needs nothing but <math.h>: see the comment on top of it.

    Names in C begin with the name of the file: policy.h has `policy_predict(input, output)`, `POLICY_INPUTS` and
    `POLICY_OUTPUTS`; and `policy_self_test()` where POLICY_SELF_TEST is defined. Outputs agree with `predict` up to
    rounding. The file is written wholly or not at all, and the same arguments make the same bytes.

    Parameters
    ----------
    network : Network
    path : str or path
        In names, characters other than English letters and digits become their numbers (`é` becomes `u00e9`) or
        underscores. If two headers of one program get the same prefix in this way, the compiler stops.
    inputs : array (n, n_inputs), optional
        The rows that the self-test records, such as those that the network is used with. Otherwise eight rows are
        drawn, around 0 and about 1 in size, or larger where only larger ones show the effect of each activation.
    columns, classes : sequences of names, optional
        What the inputs and the outputs are called; one sigmoid output may have two classes. `policy_column(i)` and
        `policy_class(i)` give them.

    Raises
    ------
    ValueError
        For parameters, inputs or outputs that are not finite; for a file that has the name of a header of the C
        library, or one that no `#include` can name; for names of another number.
    TypeError, OSError
        For inputs that are no numbers; where the file cannot be written.

    >>> import tempfile, pathlib, fastnn
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "policy.h"
    >>> fastnn.interchange.to_c(fastnn.Network([8, 64, 64, 4], activation="tanh"), path)
    >>> print(path.read_text().splitlines()[2])
     *     8 -> 64 tanh -> 64 tanh -> 4 identity
    """
    checked_network(network)
    file = checked_file(os.path.basename(os.fsdecode(path)))
    network = finite_copy(network)
    rows = rows_to_record(None, network) if inputs is None else checked_inputs(network, inputs)
    replace_file(path, header(network, file, rows, checked_names(network, columns, classes)).encode())


def finite_copy(network: Network) -> Network:
    """A copy, which stays as it is while another thread trains the network; ValueError if it is not finite."""
    network = copy.copy(network)
    if not np.isfinite(network.get_parameters()).all():
        raise ValueError("weights or biases hold NaN or infinity, but must be finite in C")
    return network


def header(network: Network, file: str, rows: FloatArray, named: dict[str, list[str]]) -> str:
    """The text of the header `file`, whose self-test records these rows. `named` holds names of inputs and outputs."""
    name = identifier(os.path.splitext(file)[0])
    single = network.dtype == "float32"
    words = {"T": "float" if single else "double", "f": "f" if single else "", "name": name, "NAME": name.upper()}
    buffers, calls = body(network, words)
    code = code_of(network, words, rows, named, buffers, calls)
    return HEADER.format(
        **words, file=file, quoted=shlex.quote(f"./{file}" if file.startswith("-") else file), version=__version__,
        n_parameters=network.n_parameters,
        drawing=" -> ".join([str(network.layer_sizes[0]), *(
            f"{n_out} {activation}" for n_out, activation in zip(
                network.layer_sizes[1:], network.activations, strict=True))]),
        legend="".join(" *\n" + "".join(
            f" *     {ONE_OF[what]} {index}: {commented(text)}\n" for index, text in enumerate(names))
            for what, names in named.items()),
        stack=sum(width for _, width in buffers) * np.dtype(network.dtype).itemsize, N_TESTS=len(rows),
        digest=sha256(code.encode()).hexdigest()[:16], code=code)


def code_of(network: Network, words: dict[str, str], rows: FloatArray, named: dict[str, list[str]],
            buffers: list[tuple[str, int]], calls: str) -> str:
    """The header without its first comment and its guard: parameters, functions, names, the self-test on these rows."""
    outputs = network.predict(rows)
    return CODE.format(
        **words, N_TESTS=len(rows), n_inputs=network.layer_sizes[0], n_outputs=network.layer_sizes[-1],
        parameters="\n".join(
            array(words, f"{kind}_{layer}", values) for layer, (weights, biases, _) in enumerate(layers(network))
            for kind, values in (("weights", weights), ("biases", biases))),
        functions=functions(words, [kind for kind in dict.fromkeys(network.activations) if kind != "identity"]),
        buffers="".join(f"    {words['T']} {buffer}[{width}];\n" for buffer, width in buffers), calls=calls,
        names="".join(NAMES.format(
            **words, what=what, function=ONE_OF[what], n=len(names), width=1 + max(len(utf8(text)) for text in names),
            strings=",\n        ".join(map(string, names))) for what, names in named.items()),
        tests=array(words, "test_inputs", rows) + array(words, "test_outputs", outputs),
        tolerance=literal(tolerance(network, rounding(network, rows, outputs)), words),
        size=literal(scale(outputs), words))


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


def identifier(stem: str) -> str:
    """The prefix of names in C, from the stem of a file's name. Letters that C lacks become their code points."""
    words = re.sub(r"[^\x00-\x7f]", lambda match: f"u{ord(match[0]):04x}", stem)
    words = re.sub("[^A-Za-z0-9]+", "_", words).strip("_")
    return words if words[:1].isalpha() else f"network_{words}".strip("_")


def body(network: Network, words: dict[str, str]) -> tuple[list[tuple[str, int]], str]:
    """The buffers of `predict`, as (name, width), and its statements. Hidden layers take turns in two buffers."""
    buffers: dict[str, int] = {}
    source, calls = "input", ""
    for layer, (weights, _, activation) in enumerate(layers(network)):
        last = layer == len(network.weights) - 1
        target = "output" if last else "even" if layer % 2 == 0 else "odd"
        n_in, n_out = weights.shape
        if not last:
            buffers[target] = max(buffers.get(target, 0), n_out)
        calls += (f"    {words['name']}_dense({target}, {source}, {words['name']}_weights_{layer}, "
                  f"{words['name']}_biases_{layer}, {n_in}, {n_out});\n")
        if activation != "identity":
            calls += f"    {words['name']}_{activation}({target}, {n_out});\n"
        source = target
    return list(buffers.items()), calls


def functions(words: dict[str, str], activations: Iterable[str]) -> str:
    """The functions in C that apply activations, preceded by those that they call and that avr-libc lacks."""
    texts = [SOFTMAX.format(**words) if activation == "softmax" else
             ELEMENT_WISE.format(**words, activation=activation, formula=expression(words, FORMULAS[activation]))
             for activation in activations]
    called = {function: bodies for function, bodies in OWN.items() if any(f"_{function}(" in text for text in texts)}
    own, given = "", ""
    for function, (terms, statements) in called.items():
        statements = expression(words, statements).replace("TERMS", str(terms[words["T"] == "double"]))
        own += FUNCTION.format(**words, function=function, statements=statements)
        given += FUNCTION.format(**words, function=function, statements=f"    return {function}{words['f']}(z);\n")
    if called:
        texts.insert(0, OWN_FUNCTIONS.format(**words, own=own, given=given))
    return "\n".join(texts)


def expression(words: dict[str, str], text: str) -> str:
    """C in the network's type, from a template.

    REAL becomes the type, {numbers} its literals, @ the ending of functions of <math.h>, $ the prefix of our own.
    """
    text = re.sub(r"\{([-\d.]+)\}", lambda match: literal(float(match[1]), words), text)
    return text.replace("@", words["f"]).replace("$", f"{words['name']}_").replace("REAL", words["T"])


def array(words: dict[str, str], name: str, values: Array) -> str:
    """The definition of an array in C, a few numbers a line."""
    numbers = [literal(value, words) for value in values.ravel().tolist()]
    lines = [", ".join(numbers[start:start + 8]) for start in range(0, len(numbers), 8)]
    return (f"static const {words['NAME']}_MEMORY {words['T']} {words['name']}_{name}[{len(numbers)}] = {{\n    "
            + ",\n    ".join(lines) + "\n};\n")


def literal(value: float, words: dict[str, str]) -> str:
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
