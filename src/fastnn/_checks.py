"""What users pass: each check returns the value as the library wants it, or raises one full sentence.

A sentence names the argument, what came and what was expected. TypeError where the kind of
thing is wrong, ValueError where its value is. `library` imports what only some of fastnn needs, and says how to get it
where it is missing. Nothing here knows networks or kernels.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from decimal import Decimal
from importlib import import_module
from itertools import pairwise
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ._words import meant

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import ModuleType

    from typing_extensions import TypeIs

    from ._types import Array, Integers, Weights

LABELS = ("for classes number the labels, classes, y = np.unique(y, return_inverse=True), and build the network with "
          "output='softmax'; fastnn.sklearn.MLPClassifier takes labels as they are")
TIME = "make times numbers by subtracting a start and dividing by a unit, such as np.timedelta64(1, 'D')"
TEXT = ("encode texts as numbers, such as with pandas.get_dummies or scikit-learn's OneHotEncoder, or leave the column "
        "out")
MISSING = ("NoneType", "NAType", "NaTType")     # types of missing values in lists and frames
TIMES = ("date", "time", "duration", "period")  # beginnings of the names that pandas and polars give to types of times


def shown(value: object) -> str:
    """What came, as a sentence says it: its repr, in one line of 200 characters or less."""
    try:
        text = re.sub(r"\s*\n\s*", " ", repr(value))
    except Exception:           # such as that of a number with too many digits
        text = f"<{type(value).__name__} object>"
    return text if len(text) <= 200 else f"{text[:180]}… ({len(text)} characters)"


class Settings:
    """A base class whose attributes are checked whenever they are set: in `__init__` and later.

    `_checks` has a function (name, value) -> value for each of them. What is refused leaves the old value.
    """

    _checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._checks:
            value = self._checks[name](name, value)
            self._check_together({**vars(self), name: value})
        super().__setattr__(name, value)

    def _check_together(self, settings: dict[str, Any]) -> None:
        """Refuses attributes that do not go together. During `__init__` some are missing yet."""


def optional(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """A check that also lets None pass."""
    return lambda name, value: None if value is None else check(name, value)


def yes_or_no(name: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {shown(value)}, but must be True or False")
    return bool(value)


def choose(argument: str, name: object, known: Collection[str]) -> str:
    """Returns name if it is one of known; else raises an error that translates another library's word, or corrects a
    misspelt one."""
    name = plain(name)
    if isinstance(name, str) and name in known:
        return str.__str__(name)        # plain text, also for a member of an enumeration
    hint = meant(argument, name, known)
    if not isinstance(name, str):
        raise TypeError(f"{argument} is {shown(name)}, but must be one of the names {', '.join(known)}{after(hint)}")
    raise ValueError(f"{argument} is {shown(name)}, which does not exist; {hint}known are {', '.join(known)}")


def after(hint: str) -> str:
    """A hint at the end of a sentence."""
    return f"; {hint.removesuffix('; ').strip()}" if hint else ""


def plain(value: Any) -> Any:
    """The number or name that an array or a tensor without dimensions holds; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def is_number(value: object) -> TypeIs[float]:
    """Whether `number` takes this kind of thing."""
    return isinstance(plain(value), (Real, Decimal))


def is_whole(value: Any) -> bool:
    """Whether this is a whole number, such as 3, 3.0 or Decimal(3)."""
    try:
        return is_number(value) and int(value) == value
    except (ValueError, ArithmeticError):       # NaN and infinity
        return False


def number(name: str, value: object, low: float = -math.inf, high: float = math.inf, open_low: bool = False,
           finite: bool = True) -> float:
    """value as a float, or an error: finite, low <= value < high (low < value with open_low)."""
    value = plain(value)
    if not isinstance(value, (Real, Decimal)):
        kind = "real number" if isinstance(value, complex) else "number"
        raise TypeError(f"{name} is {shown(value)}, but must be a {kind}")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not finite:
        return result
    if not (math.isfinite(result) and low <= result < high) or (open_low and result == low):
        bounds = "" if low == -math.inf else f" {'above' if open_low else 'at least'} {low}"
        bounds += f" and below {high}" if high < math.inf else ""
        raise ValueError(f"{name} is {shown(value)}, but must be a finite number{bounds}")
    return result


def real_array(name: str, values: object) -> Array:
    """values as a NumPy array of real numbers or booleans, from arrays, sequences, and frames whose columns hold them.

    Python's numbers in an array of objects become float64, or int64 where all are integers.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise TypeError(f"{name} is a masked array with masked values, but every value counts; fill or drop them")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, ValueError) and isinstance(values, (list, tuple)):
            raise ValueError(
                f"{name} has rows of different lengths, but must be a regular array of numbers") from None
        raise TypeError(f"{name} is a {type(values).__name__}, which NumPy cannot read ({error}); "
                        f"{instead(name, values)}") from None
    if array.dtype.kind == "O":
        array = numbers_among(name, values, array)
    if array.dtype.kind not in "biuf":
        raise TypeError(other_kind(name, values, array))
    if not isinstance(values, (np.ndarray, list, tuple)) and hasattr(values, "dtypes") and hasattr(values, "columns"):
        for column, dtype in zip(values.columns, values.dtypes, strict=False):
            if str(dtype).lower().startswith(TIMES):        # some frames turn times into numbers
                raise TypeError(f"{name} has dtype {dtype} in column {column!r}, but must hold real numbers; {TIME}")
    return array.view()     # the caller may give another shape to the array meanwhile


def columns_of(values: object) -> Any:
    """The names of a frame's columns; None for what has none."""
    return getattr(values, "columns", None) if hasattr(values, "dtypes") else getattr(values, "column_names", None)


def place(values: object, index: Sequence[int]) -> str:
    """Where an element stands, in words; a frame's column by its name."""
    if len(index) < 2:
        return "".join(f" in row {row}" for row in index)
    columns = columns_of(values)
    column = index[1] if columns is None or len(index) > 2 else columns[index[1]]
    return f" in row {index[0]}, column {repr(column) if isinstance(column, str) else column}"


def numbers_among(name: str, values: object, array: Array) -> Array:
    """An array of numbers from an array of Python objects; TypeError that names the first object that is no number."""
    elements = array.ravel().tolist()
    kinds = set(map(type, elements))
    wrong = {kind for kind in kinds if not issubclass(kind, (Real, Decimal, np.bool_))}
    if wrong:
        if array.ndim == 0:
            value = "None" if values is None else f"a {type(values).__name__}"
            raise TypeError(f"{name} is {value}, but must be an array of real numbers; {instead(name, values)}")
        first = next(i for i, element in enumerate(elements) if type(element) in wrong)
        at = [int(i) for i in np.unravel_index(first, array.shape)]
        raise TypeError(f"{name} holds {shown(elements[first])}{place(values, at)}, but must hold real numbers; "
                        f"{instead_of_element(name, elements[first])}")
    if all(issubclass(kind, (bool, np.bool_)) for kind in kinds):
        return array.astype(bool)
    if all(issubclass(kind, Integral) for kind in kinds) and all(-2**63 <= element < 2**63 for element in elements):
        return array.astype(np.int64)
    try:
        return array.astype(np.float64)
    except (ValueError, OverflowError):
        raise ValueError(f"{name} holds a number that float64 cannot hold, but must hold real numbers below 1e308"
                         ) from None


def instead(name: str, values: object) -> str:
    """What to pass in the place of something that is no array."""
    it = name if name.isidentifier() else "it"
    if name == "sample_weight" and isinstance(values, (str, Mapping)):
        return "class_weight takes 'balanced' and {class: weight}"
    if values is None:
        return "pass an array, a list or a frame"
    if isinstance(values, (str, bytes)):
        return (f"pass the column itself, such as frame[{shown(values)}]" if name in ("y", "sample_weight") else
                "read the file first, such as with np.loadtxt or pandas.read_csv" if name == "X" else "pass numbers")
    if hasattr(values, "toarray"):
        return f"pass {it}.toarray()"
    if hasattr(values, "detach"):
        dense = ".to_dense()" if "sparse" in str(getattr(values, "layout", "")) else ""
        single = ".float()" if "bfloat16" in str(getattr(values, "dtype", "")) else ""
        return f"pass {it}.detach(){dense}.cpu(){single}.numpy()"
    if hasattr(values, "collect"):
        return f"pass {it}.collect()"
    if isinstance(values, Mapping):
        return f"pass {it}['data']" if "data" in values else f"pass np.column_stack(list({it}.values()))"
    if isinstance(values, (list, tuple)):
        return "make each of its elements an array first"
    if isinstance(values, (set, frozenset)):
        return "pass a list, which has an order"
    if isinstance(values, Iterator):
        return f"pass np.array(list({it})), or to fit batches (X, y) without y"
    if isinstance(values, Iterable) or hasattr(values, "__getitem__"):
        return f"pass an array of what it holds, such as np.array(list({it})), or to fit batches (X, y) without y"
    return "pass an array, a list or a frame"


def method_of(name: str, values: object, method: str) -> str:
    """How a method of NumPy's arrays is called on what a user passed."""
    return f"{name}.{method}" if hasattr(values, method) else f"np.asarray({name}).{method}"


def instead_of_element(name: str, element: object) -> str:
    """What to do about an element that is no number."""
    if type(element).__name__ in MISSING:
        return "fill or drop what is missing"
    if isinstance(element, (str, bytes)):
        return LABELS if name == "y" else TEXT
    if isinstance(element, complex):
        return "pass real and imaginary parts as columns of their own"
    if hasattr(element, "year") or hasattr(element, "total_seconds"):
        return TIME
    if isinstance(element, (np.ndarray, list, tuple)):
        return f"stack rows that are arrays by np.stack(list({name}))"
    return "convert it, or leave it out"


def other_kind(name: str, values: object, array: Array) -> str:
    """The sentence for an array of something else than numbers or objects."""
    kind, where, advice = array.dtype.kind, "", "convert it to numbers"
    if array.ndim == 0 and isinstance(values, (str, bytes)):
        where, advice = f" ({shown(values)})", instead(name, values)
    elif kind in "UST":
        elements = array.ravel().tolist()
        first = next((i for i, element in enumerate(elements) if not is_numeral(element)), 0)
        at = [int(i) for i in np.unravel_index(first, array.shape)]
        where = f" ({shown(elements[first])}{place(values, at)})" if elements else ""
        advice = LABELS if name == "y" else TEXT
        if any(map(is_numeral, elements)):
            advice = "numbers are written as texts, and this is none: fill or drop it, and convert them to float"
        if all(map(is_numeral, elements)):
            advice = f"numbers written as texts become numbers by np.asarray({name}).astype(float)" + (
                f"; {LABELS}" if name == "y" else "")
    elif kind in "Mm":
        columns = columns_of(values)
        where = f" in column {columns[0]!r}" if columns is not None and len(columns) else ""
        advice = TIME
    elif kind == "c":
        advice = "pass real and imaginary parts as columns of their own"
    elif array.dtype.names is not None:
        advice = f"pass numpy.lib.recfunctions.structured_to_unstructured({name})"
    return f"{name} has dtype {array.dtype}{where}, but must hold real numbers; {advice}"


def is_numeral(text: str | bytes) -> bool:
    """Whether a text is a number as Python reads it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def checked_integer(name: str, value: Any, low: int, high: int = sys.maxsize) -> int:
    """value as an int in low … high."""
    if type(value) is int and low <= value <= high:     # at once: a fit of one step has several
        return value
    value = plain(value)
    if not isinstance(value, Integral) or isinstance(value, bool):
        hint = f" of type int: pass {int(value)}" if is_whole(value) and not isinstance(value, bool) else ""
        raise TypeError(f"{name} is {shown(value)}, but must be an integer{hint}")
    if not low <= int(value) <= high:
        raise ValueError(f"{name} is {shown(int(value))}, " + (
            f"but must be at least {low}" if value < low else f"which is too large: at most {high}"))
    return int(value)


def checked_count(name: str, value: object) -> int:
    """A number of steps or epochs that were done."""
    return checked_integer(name, value, 0, 2**62 - 1)


def sequence(name: str, values: object, expected: str, hint: str = "") -> tuple[Any, ...]:
    """A tuple of the values, which must come in an order of their own; text is one value, and not its letters."""
    if type(values) is tuple:           # at once, as a fit of a small network asks several times
        return values
    try:
        if not isinstance(values, (str, bytes, bytearray, memoryview, Set, Mapping)):
            return tuple(values)        # type: ignore[arg-type]
    except TypeError:
        pass
    raise TypeError(f"{name} is {shown(values)}, but must {expected}{hint}")


def checked_sizes(layer_sizes: Sequence[int]) -> tuple[int, ...]:
    """layer_sizes as a tuple of at least two positive integers."""
    sizes = sequence("layer_sizes", layer_sizes, "be a sequence such as [64, 128, 10]")
    if len(sizes) < 2:
        raise ValueError(f"layer_sizes is {shown(list(sizes))}, but must hold at least 2 sizes: inputs and outputs")
    return tuple(checked_integer(f"layer_sizes[{i}]", size, 1) for i, size in enumerate(sizes))


def checked_hidden(activation: str | Sequence[str], layers: int, known: Collection[str],
                   output_too: Collection[str]) -> tuple[str, ...]:
    """The activations of the hidden layers, from one name or one per layer."""
    activation = plain(activation)
    if isinstance(activation, str):
        return (checked_activation("activation", activation, known, output_too),) * layers
    names = sequence("activation", activation, "be a name, or one name per hidden layer",
                     after(meant("activation", activation, known)))
    if len(names) != layers:
        raise ValueError(f"activation has {len(names)} names, but there are {layers} hidden layers")
    return tuple(checked_activation(f"activation[{i}]", name, known, output_too) for i, name in enumerate(names))


def checked_activation(argument: str, name: object, known: Collection[str], output_too: Collection[str]) -> str:
    """The name of a hidden layer's activation."""
    if isinstance(name, str) and name in output_too and name not in known:
        raise ValueError(f"{argument} is {name!r}, which only the output can have; known are {', '.join(known)}")
    return choose(argument, name, known)


def checked_shares(name: str, values: Any, layers: int) -> tuple[float, ...]:
    """Numbers from 0 to below 1, one per hidden layer, from one number or one per layer."""
    if is_number(values):
        return (number(name, values, low=0, high=1),) * layers
    values = sequence(name, values, "be a number, or one per hidden layer")
    if len(values) != layers:
        raise ValueError(f"{name} has {len(values)} numbers, but there are {layers} hidden layers")
    return tuple(number(f"{name}[{i}]", value, low=0, high=1) for i, value in enumerate(values))


def checked_dtype(dtype: Any) -> str:
    """The name of a float type, from anything that NumPy takes for one."""
    try:
        name = np.dtype(dtype).name if dtype is not None else None
    except Exception:           # NumPy raises several kinds of errors here
        name = dtype
    return choose("dtype", name, ("float32", "float64"))


def check_memory(sizes: Sequence[int], dtype: str) -> None:
    """Refuses a network whose parameters cannot be addressed."""
    n_parameters = sum((n_in + 1) * (n_out + 64) for n_in, n_out in pairwise(sizes))
    if n_parameters * np.dtype(dtype).itemsize > sys.maxsize // 8:
        raise ValueError(
            f"layer_sizes is {shown(list(sizes))}, which makes {n_parameters:.3g} parameters: more than memory can "
            "hold")


def checked_labels(y: Array, classes: int) -> Integers:
    """Integer labels (n,) in 0 … classes-1, copied: nobody else can change them after the check, nor while kernels read
    them."""
    labels = np.array(y)
    if labels.dtype.kind not in "iu":
        if labels.dtype.kind == "f" and not (labels == np.floor(labels)).all():
            row = int((labels != np.floor(labels)).argmax())
            advice = ("fill or drop what is missing" if np.isnan(labels[row]) else
                      "for numbers build the network with output='identity'")
            raise TypeError(
                f"y has dtype {labels.dtype} and holds {labels[row]} in row {row}, but softmax takes integer labels "
                f"(n,) or probabilities (n, {classes}); {advice}")
        raise TypeError(
            f"y has dtype {labels.dtype}, but softmax takes integer labels (n,) or probabilities (n, {classes}); "
            "convert labels with y.astype(int)")
    smallest, largest = int(labels.min()), int(labels.max())
    if smallest < 0 or largest >= classes:
        wrong = smallest if smallest < 0 else largest
        advice = ("number them from 0: pass y - 1" if (smallest, largest) == (1, classes) else
                  f"build the network with {largest + 1} outputs, or number them from 0: "
                  "classes, y = np.unique(y, return_inverse=True)" if smallest >= 0 else
                  "number them from 0: classes, y = np.unique(y, return_inverse=True)")
        raise ValueError(f"y holds the label {wrong}, but labels must be in 0 … {classes - 1} for {classes} outputs; "
                         f"{advice}")
    return labels.astype(np.intp, copy=False)


def check_range(name: str, values: Array, low: float, high: float, meaning: str, advice: str = "") -> None:
    """Refuses values (n, k) outside low … high."""
    wrong = (values < low) | (values > high)
    if wrong.any():
        row, column = np.unravel_index(wrong.argmax(), wrong.shape)
        bounds = f"between {low} and {high}" if high < np.inf else f"at least {low}"
        raise ValueError(
            f"{name} holds {values[row, column]:g} in row {row}, column {column}, but {meaning} must be {bounds}"
            f"{advice}")


def validation_rows(validation_data: object, otherwise: str = "") -> tuple[Any, Any, Any]:
    """(X, y, sample_weight or None) from rows to validate with; `otherwise` is what else may come, for the error."""
    if isinstance(validation_data, (tuple, list)) and len(validation_data) in (2, 3):
        X, y, sample_weight = (*validation_data, None)[:3]
        return X, y, sample_weight
    size = f" of {len(validation_data)}" if isinstance(validation_data, (tuple, list)) else ""
    raise TypeError(f"validation_data is a {type(validation_data).__name__}{size}, but must be a tuple (X, y) or "
                    f"(X, y, sample_weight){otherwise}")


def checked_weights(name: str, weights: Any, rows: int, whole: bool = True) -> Weights:
    """Weights (n,) in float64, or None; without `whole` they are a part of the rows, and may all be zero."""
    if weights is None:
        return None
    given, weights = weights, real_array(name, weights)
    if weights.shape != (rows,):
        flat = f"; pass {method_of(name, given, 'ravel')}()" if weights.size == rows and weights.ndim > 1 else ""
        raise ValueError(f"{name} has shape {weights.shape}, but must have shape ({rows},): one weight a row{flat}")
    weights = np.array(weights, np.float64, order="C")      # a copy, which nobody else can change after the check
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"{name} holds {weights[row]} in row {row}, but must be finite and not negative")
    if not whole:
        return weights
    if not weights.any():
        raise ValueError(f"{name} is zero for every row, but at least one row needs a weight above 0")
    if not 1e-100 < weights.max() < 1e100:
        with np.errstate(under="ignore"):
            weights = weights / weights.max()       # a mean does not change, and no sum overflows
    return weights


def check_out(out: object, shape: tuple[int, ...], dtype: str) -> Array:
    """The memory to predict into: `out` itself, or a stand-in where its layout does not fit."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out is a {type(out).__name__}, but must be a NumPy array")
    out = np.asarray(out)       # a subclass may have attributes that do not tell of its memory
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, but the result has shape {shape}")
    if out.dtype != dtype:
        raise ValueError(f"out has dtype {out.dtype}, but the result has dtype {dtype}")
    if not out.flags.writeable:
        raise ValueError("out is read-only, but the result is written to it; pass a writable array")
    fits = out.flags.c_contiguous and out.flags.aligned
    return out if fits else np.empty(shape, dtype)


# Libraries that only some of fastnn needs

# What an error tells users to install: the extras of pyproject.toml, but without fastnn itself, which is on no index.
EXTRAS = {
    "excel": ("python-calamine>=0.2",),
    "mpi": ("mpi4py>=4", "mpich>=4.3"),
    "onnx": ("onnx>=1.16",),
    "parquet": ("duckdb>=1",),
    "plot": ("matplotlib>=3.8",),
    "progress": ("tqdm>=4.60",),
    "sklearn": ("scikit-learn>=1.9",),
    "torch": ("torch>=2",),
}


def library(module: str, name: str, extra: str, user: str) -> ModuleType:
    """The module of an optional library; an ImportError that says who needs it and how to get it."""
    try:
        return import_module(module)
    except ImportError:
        if getattr(sys, "frozen", False):       # PyInstaller and its kin set this
            cure = f"is not part of this frozen program: write `import {module}` in it, and freeze it again"
        else:
            cure = f"is not installed: pip install {' '.join(map(repr, EXTRAS[extra]))}"
        raise ImportError(f"{user} needs {name}, which {cure}") from None
