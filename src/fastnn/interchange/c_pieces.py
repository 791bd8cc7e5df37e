"""The pieces of a header in C: the layers of a network, names, the self-test, the guard.

c.py makes a header of them for a Network, tables/c_export.py one for the model of a whole table. The templates are
filled with the `words` of c_text.py. c_self_test.py chooses what the self-test records.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from .c_text import array, commented, literal, string, utf8
from .contents import layers
from .spellings import SPELLINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
MEMORY = """\
/* Where constants are kept: a qualifier such as __flash, or nothing. */
#ifndef {NAME}_MEMORY
#define {NAME}_MEMORY
#endif
"""
DENSE = """\
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
SELF_TEST = """\
#if defined({NAME}_SELF_TEST) || defined({NAME}_SELF_TEST_MAIN)

{tests}
/* How many of the {N_TESTS} recorded pairs come out otherwise, by more than rounding. */
static inline int {name}_self_test(void)
{{
    int test, j, failed = 0;
    for (test = 0; test < {N_TESTS}; test++) {{
        const {NAME}_MEMORY {T} *expected = {name}_test_outputs + test * {NAME}_OUTPUTS;
{run}        for (j = 0; j < {NAME}_OUTPUTS; j++)
            if (!(fabs{f}(output[j] - expected[j]) <= {bound}))    /* NaN is wrong too */
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
COMMAND = """\
 *     cc -std=c99 -D{NAME}_SELF_TEST_MAIN -x c {quoted} -lm -o {name}_test && ./{name}_test
 *
 * {NAME}_SELF_TEST alone defines {name}_self_test(), for a program of your own.
"""
GUARD = """\
#ifndef {NAME}_H
#define {NAME}_H
#define {NAME}_H_{digest}

{code}
#elif !defined({NAME}_H_{digest})
#error "this header and another one are different, but both have names that begin with {name}_: rename one of the files"
#endif
"""


def guarded(words: Mapping[str, str], code: str) -> str:
    """Code that may be included twice. Another header with the same prefix stops the compiler."""
    return GUARD.format(**words, digest=sha256(code.encode()).hexdigest()[:16], code=code)


def drawing(network: Network) -> str:
    """A network in a line: 8 -> 64 tanh -> 4 identity."""
    return " -> ".join([str(network.layer_sizes[0]), *(
        f"{n_out} {activation}" for n_out, activation in zip(
            network.layer_sizes[1:], network.activations, strict=True))])


def legend(named: Mapping[str, Sequence[str]]) -> str:
    """Lines of a comment: the names of columns and of classes, with their numbers."""
    return "".join(" *\n" + "".join(
        f" *     {ONE_OF[what]} {index}: {commented(text)}\n" for index, text in enumerate(names))
        for what, names in named.items())


def names(words: Mapping[str, str], named: Mapping[str, Sequence[str]]) -> str:
    """Functions that give the names of columns and of classes."""
    return "".join(NAMES.format(
        **words, what=what, function=ONE_OF[what], n=len(texts), width=1 + max(len(utf8(text)) for text in texts),
        strings=",\n        ".join(map(string, texts))) for what, texts in named.items())


def parameters(words: Mapping[str, str], networks: Sequence[Network]) -> str:
    """Arrays of each layer's weights and biases: those of all networks, which have one shape, one after another."""
    arrays = []
    for layer, members in enumerate(zip(*map(layers, networks), strict=True)):
        weights, biases, _ = zip(*members, strict=True)
        arrays += [array(words, f"weights_{layer}", np.stack(weights)),
                   array(words, f"biases_{layer}", np.stack(biases))]
    return "\n".join(arrays)


def body(network: Network, words: Mapping[str, str], source: str = "input", result: str = "output",
         member: str = "") -> tuple[list[tuple[str, int]], str]:
    """The buffers of a network, as (name, width), and its statements, which lead from the array `source` to `result`.

    Hidden layers take turns in two buffers. `member` is the variable that says whose parameters are used, if these are
    of several networks.
    """
    buffers: dict[str, int] = {}
    calls = ""
    for layer, (weights, biases, activation) in enumerate(layers(network)):
        last = layer == len(network.weights) - 1
        target = result if last else "even" if layer % 2 == 0 else "odd"
        n_in, n_out = weights.shape
        if not last:
            buffers[target] = max(buffers.get(target, 0), n_out)
        arrays = [f"{words['name']}_{kind}_{layer}" + (f" + {member} * {values.size}L" if member else "")
                  for kind, values in (("weights", weights), ("biases", biases))]
        calls += f"    {words['name']}_dense({target}, {source}, {', '.join(arrays)}, {n_in}, {n_out});\n"
        if activation != "identity":
            calls += f"    {words['name']}_{activation}({target}, {n_out});\n"
        source = target
    return list(buffers.items()), calls


def functions(words: Mapping[str, str], activations: Iterable[str]) -> str:
    """The functions in C that apply activations, preceded by those that they call and that avr-libc lacks."""
    texts = [SOFTMAX.format(**words) if activation == "softmax" else
             ELEMENT_WISE.format(**words, activation=activation, formula=expression(words, FORMULAS[activation]))
             for activation in dict.fromkeys(activations) if activation != "identity"]
    called = {function: bodies for function, bodies in OWN.items() if any(f"_{function}(" in text for text in texts)}
    own, given = "", ""
    for function, (terms, statements) in called.items():
        statements = expression(words, statements).replace("TERMS", str(terms[words["T"] == "double"]))
        own += FUNCTION.format(**words, function=function, statements=statements)
        given += FUNCTION.format(**words, function=function, statements=f"    return {function}{words['f']}(z);\n")
    if called:
        texts.insert(0, OWN_FUNCTIONS.format(**words, own=own, given=given))
    return "\n".join(texts)


def expression(words: Mapping[str, str], text: str) -> str:
    """C in the network's type, from a template.

    REAL becomes the type, {numbers} its literals, @ the ending of functions of <math.h>, $ the prefix of our own.
    """
    text = re.sub(r"\{([-\d.]+)\}", lambda match: literal(float(match[1]), words), text)
    return text.replace("@", words["f"]).replace("$", f"{words['name']}_").replace("REAL", words["T"])
