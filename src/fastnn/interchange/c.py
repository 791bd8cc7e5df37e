"""C: a Network as one header of C99, which C++ takes too, with no dependency but the standard library.

The templates below are filled with the pieces of c_pieces.py. The header's text depends on the arguments of `to_c`
alone, and of the path on the file's name alone. Numbers have 9 or 17 significant digits, so they read back as the same
floats. c_self_test.py chooses the rows that the header's self-test records.
"""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING

import numpy as np

from .._version import __version__
from ..storage.model_file import replace_file
from ..training.trainable import checked_network
from .c_pieces import (
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
from .c_self_test import checked_inputs, rounding, rows_to_record, scale, tolerance
from .c_text import array, checked_file, literal, words_of
from .contents import checked_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._types import ArrayLike, FloatArray, Path
    from ..network import Network

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
{command} */
"""
CODE = """\
#include <math.h>

#define {NAME}_INPUTS {n_inputs}
#define {NAME}_OUTPUTS {n_outputs}

{memory}
{parameters}
{dense}
{functions}
/* From {NAME}_INPUTS numbers to {NAME}_OUTPUTS numbers, which must not overlap. */
static inline void {name}_predict(const {T} *input, {T} *output)
{{
{buffers}{calls}}}
{names}
{self_test}"""
RUN = """\
        {T} input[{NAME}_INPUTS], output[{NAME}_OUTPUTS], largest = 0;
        int good = 1;
        for (j = 0; j < {NAME}_INPUTS; j++)
            input[j] = {name}_test_inputs[test * {NAME}_INPUTS + j];
        {name}_predict(input, output);
        for (j = 0; j < {NAME}_OUTPUTS; j++)
            if (fabs{f}(expected[j]) > largest)
                largest = fabs{f}(expected[j]);
"""


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
    words = words_of(file, network.dtype)
    buffers, calls = body(network, words)
    comment = HEADER.format(
        **words, version=__version__, n_parameters=network.n_parameters, drawing=drawing(network),
        legend=legend(named), stack=sum(width for _, width in buffers) * np.dtype(network.dtype).itemsize,
        N_TESTS=len(rows), command=COMMAND.format(**words))
    return comment + guarded(words, code_of(network, words, rows, named, buffers, calls))


def code_of(network: Network, words: dict[str, str], rows: FloatArray, named: dict[str, list[str]],
            buffers: list[tuple[str, int]], calls: str) -> str:
    """The header without its first comment and its guard: parameters, functions, names, the self-test on these rows."""
    outputs = network.predict(rows)
    allowed = literal(tolerance(network, rounding(network, rows, outputs)), words)
    self_test = SELF_TEST.format(
        **words, N_TESTS=len(rows), run=RUN.format(**words),
        tests=array(words, "test_inputs", rows) + array(words, "test_outputs", outputs),
        bound=f"{allowed} * ({literal(scale(outputs), words)} + largest)")
    return CODE.format(
        **words, n_inputs=network.layer_sizes[0], n_outputs=network.layer_sizes[-1], memory=MEMORY.format(**words),
        parameters=parameters(words, [network]), dense=DENSE.format(**words),
        functions=functions(words, network.activations),
        buffers="".join(f"    {words['T']} {buffer}[{width}];\n" for buffer, width in buffers), calls=calls,
        names=names(words, named), self_test=self_test)
