"""C: a Network as one header of C99, which C++ takes too, with no dependency but the standard library.

The text below is the header, piece by piece; it is a function of the network and the file's name
alone. Numbers have 9 or 17 significant digits, so they read back as the same floats.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import numpy as np

from .._version import __version__
from ..model_file import replace_file
from .chain import layers

if TYPE_CHECKING:
    from .._types import Array, Path
    from ..network import Network

# Values of an element z. They are finite wherever the result is: the argument of exp is never positive
# in a quotient or a logarithm. A NaN stays one.
FORMULAS = {
    "sigmoid": "z < 0 ? exp@(z) / (1 + exp@(z)) : 1 / (1 + exp@(-z))",
    "tanh": "tanh@(z)",
    "relu": "z < 0 ? 0 : z",
    "leaky_relu": "z < 0 ? {0.01} * z : z",
    "elu": "z < 0 ? expm1@(z) : z",
    "selu": "z < 0 ? {1.7580993408473768599} * expm1@(z) : {1.0507009873554804934} * z",
    "softplus": "(z < 0 ? 0 : z) + log1p@(exp@(-fabs@(z)))",
    "silu": "z < 0 ? z * exp@(z) / (1 + exp@(z)) : z / (1 + exp@(-z))",
    "gelu": "{0.5} * z * erfc@({-0.70710678118654752440} * z)",
    "exp": "exp@(z)",
}
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
 *
 * How to use it, from C99 or C++, linking with -lm:
 *
 *     #include "{file}"
 *
 *     {T} input[{NAME}_INPUTS], output[{NAME}_OUTPUTS];
 *     {name}_predict(input, output);
 *
 * It allocates nothing, keeps no state and needs {stack} bytes of the stack. Include it in one source file: each that
 * does has its own copy of the weights. Here are {N_TESTS} recorded pairs of inputs and outputs, to see that your
 * compiler computes the same:
 *
 *     cc -std=c99 -D{NAME}_SELF_TEST_MAIN -x c {file} -lm -o {name}_test && ./{name}_test
 *
 * {NAME}_SELF_TEST alone defines {name}_self_test(), for a program of your own.
 */
#ifndef {NAME}_H
#define {NAME}_H

#include <math.h>

#define {NAME}_INPUTS {n_inputs}
#define {NAME}_OUTPUTS {n_outputs}

{parameters}
/* y := x @ weights + biases, for x of n_in numbers and weights of n_in rows. */
static inline void {name}_dense({T} *y, const {T} *x, const {T} *weights, const {T} *biases,
    int n_in, int n_out)
{{
    int i, j;
    for (j = 0; j < n_out; j++)
        y[j] = 0;
    for (i = 0; i < n_in; i++)
        for (j = 0; j < n_out; j++)
            y[j] += x[i] * weights[i * n_out + j];
    for (j = 0; j < n_out; j++)
        y[j] += biases[j];
}}

{functions}
/* From {NAME}_INPUTS numbers to {NAME}_OUTPUTS numbers, which must not overlap. */
static inline void {name}_predict(const {T} *input, {T} *output)
{{
{buffers}{calls}}}

#if defined({NAME}_SELF_TEST) || defined({NAME}_SELF_TEST_MAIN)

{tests}
/* How many of the {N_TESTS} recorded pairs come out otherwise, by more than rounding. */
static inline int {name}_self_test(void)
{{
    int test, j, failed = 0;
    for (test = 0; test < {N_TESTS}; test++) {{
        {T} output[{NAME}_OUTPUTS];
        int good = 1;
        {name}_predict({name}_test_inputs + test * {NAME}_INPUTS, output);
        for (j = 0; j < {NAME}_OUTPUTS; j++) {{
            const {T} expected = {name}_test_outputs[test * {NAME}_OUTPUTS + j];
            if (!(fabs{f}(output[j] - expected) <= {tolerance}))     /* NaN is wrong too */
                good = 0;
        }}
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
#endif
"""
N_TESTS = 8
TOLERANCE = {"float32": 2e-5, "float64": 2e-10}     # of 1 plus the largest output


def to_c(network: Network, path: Path) -> None:
    """Writes the network to one C header that needs nothing but <math.h>: see the comment on top of it.

    Its names begin with the file's: policy.h has `policy_predict(input, output)`, `POLICY_INPUTS` and
    `POLICY_OUTPUTS`; and `policy_self_test()` where POLICY_SELF_TEST is defined. Outputs agree with
    `predict` up to rounding. The file is written wholly or not at all, and the same network makes the
    same bytes. ValueError for parameters that are not finite, OSError where the file cannot be written.

    >>> import tempfile, pathlib, fastnn
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "policy.h"
    >>> fastnn.interchange.to_c(fastnn.Network([8, 64, 64, 4], activation="tanh"), path)
    >>> print(*path.read_text().splitlines()[:3], sep="\\n")     # doctest: +ELLIPSIS
    /* policy.h: a dense network with 4996 parameters in float, written by fastnn ...:
     *
     *     8 -> 64 tanh -> 64 tanh -> 4 identity
    """
    file = re.sub(r"[^\w.-]", "_", os.path.basename(os.fsdecode(path)))
    name = identifier(os.path.splitext(file)[0])
    inputs = np.random.default_rng(network.seed).standard_normal((N_TESTS, network.layer_sizes[0]))
    inputs = inputs.astype(network.dtype)
    outputs = network.predict(inputs)
    finite = np.isfinite(outputs).all(axis=1)
    if not np.isfinite(network.get_parameters()).all() or not finite.any():
        raise ValueError("weights, biases or the outputs for standard normal inputs hold NaN or infinity, but must be "
                         "finite in C")
    inputs, outputs = inputs[finite], outputs[finite]
    single = network.dtype == "float32"
    words = {"T": "float" if single else "double", "f": "f" if single else "", "name": name, "NAME": name.upper()}
    buffers, calls = body(network, words)
    text = HEADER.format(
        **words, file=file, version=__version__, n_parameters=network.n_parameters,
        drawing=" -> ".join([str(network.layer_sizes[0]), *(
            f"{len(biases)} {activation}" for _, biases, activation in layers(network))]),
        stack=sum(size for _, size in buffers) * np.dtype(network.dtype).itemsize, N_TESTS=len(inputs),
        n_inputs=network.layer_sizes[0], n_outputs=network.layer_sizes[-1],
        parameters="\n".join(
            array(words, f"{kind}_{layer}", values) for layer, (weights, biases, _) in enumerate(layers(network))
            for kind, values in (("weights", weights), ("biases", biases))),
        functions="\n".join(function(words, activation) for activation in dict.fromkeys(network.activations)
                            if activation != "identity"),
        buffers="".join(f"    {words['T']} {buffer}[{size}];\n" for buffer, size in buffers), calls=calls,
        tests=array(words, "test_inputs", inputs) + array(words, "test_outputs", outputs),
        tolerance=literal(TOLERANCE[network.dtype] * (1 + float(np.abs(outputs).max())), words))
    replace_file(path, text.encode())


def identifier(stem: str) -> str:
    """The stem of a file's name as the beginning of names in C."""
    words = re.sub("[^A-Za-z0-9]+", "_", stem).strip("_")
    return words if words[:1].isalpha() else f"network_{words}".strip("_")


def body(network: Network, words: dict[str, str]) -> tuple[list[tuple[str, int]], str]:
    """The buffers of `predict`, as (name, size), and its statements. Hidden layers take turns in two buffers."""
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


def function(words: dict[str, str], activation: str) -> str:
    """The function in C that applies an activation."""
    if activation == "softmax":
        return SOFTMAX.format(**words)
    formula = re.sub(r"\{(.*?)\}", lambda match: literal(float(match[1]), words), FORMULAS[activation])
    return ELEMENT_WISE.format(**words, activation=activation, formula=formula.replace("@", words["f"]))


def array(words: dict[str, str], name: str, values: Array) -> str:
    """The definition of an array in C, a few numbers a line."""
    numbers = [literal(value, words) for value in values.ravel().tolist()]
    lines = [", ".join(numbers[start:start + 8]) for start in range(0, len(numbers), 8)]
    return (f"static const {words['T']} {words['name']}_{name}[{len(numbers)}] = {{\n    "
            + ",\n    ".join(lines) + "\n};\n")


def literal(value: float, words: dict[str, str]) -> str:
    """A number in C, of as many digits as give it back."""
    text = f"{value:.9g}" if words["f"] else f"{value:.17g}"
    return text + ("" if "." in text or "e" in text else ".0") + words["f"]
