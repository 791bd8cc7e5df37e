"""C: a Network as one header of C99, which C++ takes too, with no dependency but the standard library.

The text below is the header, piece by piece; it is a function of what `to_c` is given, of the file's path only by its
name. Numbers have 9 or 17 significant digits, so they read back as the same floats.
"""

from __future__ import annotations

import os
import re
import shlex
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from .._checks import real_array
from .._version import __version__
from ..network import Network, checked_network
from ..storage.model_file import replace_file
from .chain import checked_names, layers
from .spellings import SPELLINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._types import Array, ArrayLike, FloatArray, Path
    from ..training.scaling import Scaling

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
N_TESTS = 8
TOLERANCE = {"float32": 2e-5, "float64": 2e-12}     # of a row's largest output plus `size`, at least
CANDIDATES = 256        # rows, of which the self-test records those that show most mistakes
LARGER = (1e2, 1e4, 1e6, 1e8)      # times standard normal inputs, for networks of columns that large
MOST_MUTANTS = 16
ROUNDING = 16           # times the change by parameters with errors in their last bits: more than another order of sums


def to_c(network: Network, path: Path, *, inputs: ArrayLike | None = None, columns: Iterable[object] | None = None,
         classes: Iterable[object] | None = None) -> None:
    """Writes the network to one C header that needs nothing but <math.h>: see the comment on top of it.

    Its names begin with the file's: policy.h has `policy_predict(input, output)`, `POLICY_INPUTS` and
    `POLICY_OUTPUTS`; and `policy_self_test()` where POLICY_SELF_TEST is defined. Outputs agree with
    `predict` up to rounding. The file is written wholly or not at all, and the same arguments make the
    same bytes.

    Parameters
    ----------
    network : Network
    path : str or path
        Characters other than English letters and digits are written by their numbers (`é` as `u00e9`) or as
        underscores. Two headers of one program whose names come out alike stop the compiler.
    inputs : array (n, n_inputs), optional
        The rows that the self-test records, of the size that the network is used with. Otherwise eight rows are drawn,
        around 0 and about 1 in size, or larger where only then the outputs depend on each activation.
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
    >>> print(*path.read_text().splitlines()[:3], sep="\\n")     # doctest: +ELLIPSIS
    /* policy.h: a dense network with 4996 parameters in float, written by fastnn ...:
     *
     *     8 -> 64 tanh -> 64 tanh -> 4 identity
    """
    checked_network(network)
    file = checked_file(os.path.basename(os.fsdecode(path)))
    name = identifier(os.path.splitext(file)[0])
    parameters = network.get_parameters()
    if not np.isfinite(parameters).all():
        raise ValueError("weights or biases hold NaN or infinity, but must be finite in C")
    network = like(network, network.activations, parameters)    # a copy: another thread may train the network meanwhile
    rows = rows_like(None, network) if inputs is None else checked_inputs(network, inputs)
    single = network.dtype == "float32"
    words = {"T": "float" if single else "double", "f": "f" if single else "", "name": name, "NAME": name.upper()}
    named = checked_names(network, columns, classes)
    buffers, calls = body(network, words)
    code = code_of(network, words, rows, named, buffers, calls)
    text = HEADER.format(
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
    replace_file(path, text.encode())


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
        size=literal(size(outputs), words))


def checked_file(file: str) -> str:
    """The name of a file that C can include, and in whose place it expects no other."""
    stem, ending = os.path.splitext(file.lower())
    if ending == ".h" and stem in STANDARD_HEADERS:
        raise ValueError(f"path ends with {file!r}, which is the name of a header of the C library, and would be read "
                         "in its place; give the file another name")
    if not file.isprintable() or '"' in file or "\\" in file:
        raise ValueError(f"path ends with {file!r}, which no #include can name; leave out quotes, backslashes and "
                         "characters that cannot be printed")
    return file


def identifier(stem: str) -> str:
    """The stem of a file's name as the beginning of names in C. Letters that C lacks become their code points."""
    words = re.sub(r"[^\x00-\x7f]", lambda match: f"u{ord(match[0]):04x}", stem)
    words = re.sub("[^A-Za-z0-9]+", "_", words).strip("_")
    return words if words[:1].isalpha() else f"network_{words}".strip("_")


def checked_inputs(network: Network, inputs: ArrayLike) -> FloatArray:
    """Rows (n, n_inputs) in the network's dtype, if they and their outputs are finite."""
    given = real_array("inputs", inputs)
    if given.ndim != 2 or not len(given) or given.shape[1] != network.layer_sizes[0]:
        raise ValueError(f"inputs has shape {given.shape}, but rows of {network.layer_sizes[0]} numbers and one at "
                         "least were expected")
    with np.errstate(over="ignore"):
        rows = given.astype(network.dtype)
    for what, values in (("holds", lambda: rows), ("leads to outputs of", lambda: network.predict(rows))):
        finite = np.isfinite(values()).all(axis=1)
        if not finite.all():
            raise ValueError(f"inputs: row {finite.argmin()} {what} NaN or infinity, but the self-test needs finite "
                             "numbers")
    return rows


def rows_like(columns: Scaling | None, network: Network) -> FloatArray:
    """Eight rows, or less, for the self-test of a network that takes such columns; None for standardised ones.

    They are chosen among normal ones, the later of which are nearer to the mean. Where these do not show everything
    and nothing is known of the columns, larger ones may: weights are small where inputs are large.
    """
    sizes = 10.0 ** (-30 * np.linspace(0, 1, CANDIDATES) ** 3)
    rows = np.random.default_rng(network.seed).standard_normal((CANDIDATES, network.layer_sizes[0])) * sizes[:, None]
    first, complete = telling(network, (rows if columns is None else columns.undo(rows)).astype(network.dtype))
    for larger in LARGER if columns is None and not complete else ():
        try:
            chosen, complete = telling(network, (larger * rows).astype(network.dtype))
        except ValueError:      # no outputs are finite
            break
        if complete:
            return chosen
    return first


def telling(network: Network, rows: FloatArray) -> tuple[FloatArray, bool]:
    """Eight of the rows, or less, whose outputs show what is wrong with a network; the earlier ones if they do.
    And whether they show all of it.

    Wrong are other inputs, other parameters and a missing activation. A row shows what changes its outputs by ten times
    the self-test's tolerance; rows on which rounding would make it larger than most others do are left out.
    """
    outputs = network.predict(rows)
    finite = np.isfinite(outputs).all(axis=1)
    if not finite.any():
        raise ValueError("the outputs for standard normal inputs and for smaller ones hold NaN or infinity, but must "
                         "be finite in C; give inputs= for which they are finite")
    rows, outputs = rows[finite], outputs[finite]
    errors = rounding(network, rows, outputs)
    calm = errors <= max(float(np.median(errors)), TOLERANCE[network.dtype] / ROUNDING)
    rows, outputs, errors = rows[calm], outputs[calm], errors[calm]
    least = 10 * tolerance(network, errors) * (size(outputs) + np.abs(outputs).max(axis=1))
    others = [np.broadcast_to(outputs[-1], outputs.shape), *(other.predict(rows) for other in mutants(network))]
    with np.errstate(invalid="ignore"):
        shown = np.array([~(np.abs(other - outputs).max(axis=1) <= least) for other in others])
    chosen: list[int] = []
    while len(chosen) < min(N_TESTS, len(rows)):    # a mistake that a chosen row shows is worth less
        worth = (shown / (1 + shown[:, chosen].sum(axis=1, keepdims=True))).sum(axis=0)
        worth[chosen] = -1
        chosen.append(int(worth.argmax()))
    return rows[sorted(chosen)], bool(shown[:, chosen].any(axis=1).all())


def mutants(network: Network) -> Iterable[Network]:
    """The network with smaller parameters, and without the activation of one of its layers: any, or some of many."""
    yield like(network, network.activations, 0.9 * network.get_parameters())
    n_layers = len(network.activations)
    for layer in np.unique(np.linspace(0, n_layers - 1, min(n_layers, MOST_MUTANTS)).astype(int)):
        if network.activations[layer] != "identity":
            yield like(network, [*network.activations[:layer], "identity", *network.activations[layer + 1:]],
                       network.get_parameters())


def rounding(network: Network, rows: FloatArray, outputs: FloatArray) -> FloatArray:
    """How large rounding is in each row's outputs, as a part of what they are compared with.

    It is measured by making half of the parameters smaller by some units of their last place.
    """
    parameters = network.get_parameters()
    units = np.random.default_rng(0).choice([0, 4], parameters.shape)
    other = like(network, network.activations, parameters * (1 - units * np.finfo(network.dtype).eps))
    errors = np.abs(other.predict(rows) - outputs).max(axis=1) / (size(outputs) + np.abs(outputs).max(axis=1))
    return np.where(np.isfinite(errors), errors, 1)     # infinite where outputs nearly overflow


def size(outputs: FloatArray) -> float:
    """What errors are compared with where a row's own outputs are small: the largest of all rows, or 1."""
    return min(1.0, max(float(np.abs(outputs).max()), 1e-30))


def tolerance(network: Network, errors: FloatArray) -> float:
    """What outputs may differ by, as a part of what they are compared with."""
    return max(TOLERANCE[network.dtype], ROUNDING * float(errors.max()))


def like(network: Network, activations: Sequence[str], parameters: Array) -> Network:
    """A network of the same layers and seed with other activations or parameters."""
    *hidden, output = activations
    result = Network(network.layer_sizes, hidden, output, dtype=network.dtype, seed=network.seed)
    result.set_parameters(parameters)
    return result


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
    """The functions in C that apply activations, after those that they call and a target may lack."""
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
    """C in the network's type, which REAL is: {numbers} become literals, @ and $ the ending and prefix of functions."""
    text = re.sub(r"\{([-\d.]+)\}", lambda match: literal(float(match[1]), words), text)
    return text.replace("@", words["f"]).replace("$", f"{words['name']}_").replace("REAL", words["T"])


def array(words: dict[str, str], name: str, values: Array) -> str:
    """The definition of an array in C, a few numbers a line."""
    numbers = [literal(value, words) for value in values.ravel().tolist()]
    lines = [", ".join(numbers[start:start + 8]) for start in range(0, len(numbers), 8)]
    return (f"static const {words['NAME']}_MEMORY {words['T']} {words['name']}_{name}[{len(numbers)}] = {{\n    "
            + ",\n    ".join(lines) + "\n};\n")


def literal(value: float, words: dict[str, str]) -> str:
    """A number in C, of as many digits as give it back."""
    text = f"{value:.9g}" if words["f"] else f"{value:.17g}"
    return text + ("" if "." in text or "e" in text else ".0") + words["f"]


def string(text: str) -> str:
    """A text in C, in UTF-8. Octal numbers stand for what is not plain ASCII: they mean the same to every compiler."""
    return '"' + "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}"
                         for byte in utf8(text)) + '"'


def utf8(text: str) -> bytes:
    """A text as bytes, also where it holds lone surrogates."""
    return text.encode("utf-8", "surrogatepass")


def commented(text: str) -> str:
    """A text for a comment in C: nothing in it ends or begins one."""
    text = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return text.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")
