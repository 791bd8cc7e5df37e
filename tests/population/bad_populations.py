"""Wrong input to a population, as tables: what is wrong, the value, the error, words of its sentence in any order.

test_population_bad_input.py makes each call. No test is here.
"""

import numpy as np
from twins import data

import fastnn

N, ROWS = 3, 20
X, Y = data(ROWS, 4)
OWN_X, OWN_Y = np.array([X] * N), np.array([Y] * N)
EITHER = (TypeError, ValueError)
A = fastnn.Adam


def population(n=N, **arguments):
    return fastnn.Population([4, 6, 1], n, **arguments)


def spoiled(array, value, *place):
    array = array.copy()
    array[place] = value
    return array


def weights(**rows):
    """Ones, but for the rows of some members."""
    result = np.ones((N, ROWS))
    for member, row in rows.items():
        result[int(member[1:])] = row
    return result


CONSTRUCTOR = {
    "n": [
        ("zero", 0, ValueError, ["at least 1"]), ("negative", -1, ValueError, ["-1"]),
        ("None", None, TypeError, ["None"]), ("text", "3", TypeError, ["'3'"]),
        ("a fraction", 2.5, TypeError, ["integer"]), ("a list", [3], TypeError, []),
        ("True", True, TypeError, ["True"]), ("more than memory addresses", 2**62, (MemoryError, ValueError), [])],
    "seeds": [
        ("too few", [1, 2], ValueError, ["2", "3 members"]),
        ("negative", [1, 2, -1], ValueError, [r"seeds\[2\]", "-1"]),
        ("a fraction", [1, 2.5, 3], TypeError, [r"seeds\[1\]", "2.5"]), ("text", "abc", TypeError, ["'a'|'abc'"]),
        ("too large", 2**64, ValueError, ["too large"]), ("2-D", [[1], [2], [3]], TypeError, [r"seeds\[0\]"]),
        ("a set", {1, 2, 3}, TypeError, []), ("None in it", [1, None, 2], TypeError, [r"seeds\[1\]", "None"])],
    "dropout": [
        ("one", 1.0, ValueError, ["below 1"]), ("of one member", [0, 0.1, 1.0], ValueError, ["member 2"]),
        ("negative", [0, -0.1, 0], ValueError, ["member 1", "-0.1"]),
        ("NaN", [np.nan, 0, 0], ValueError, ["member 0"]),
        ("too few", [0.1, 0.2], ValueError, [r"\(2,\)", r"\(3,\)"]), ("None", None, TypeError, ["None"]),
        ("too many layers", np.zeros((3, 2)), ValueError, [r"\(3, 2\)", r"\(3, 1\)"]),
        ("text", "a", TypeError, ["'a'"])],
    "l1": [
        ("negative", -1, ValueError, ["-1"]), ("of one member", [0, 0, -1], ValueError, [r"l1\[2\]", "-1"]),
        ("too many", [0] * 4, ValueError, ["4", "3 members"]), ("infinite", np.inf, ValueError, ["inf"]),
        ("2-D", np.zeros((3, 3)), TypeError, [r"l1\[0\]"]), ("text", "abc", TypeError, []),
        ("None", None, TypeError, []), ("a dict", {0: 1, 1: 2, 2: 3}, TypeError, ["dict|{0"]),
        ("a set", {1, 2, 3}, TypeError, ["set|{1"])],
    "l2": [
        ("NaN", [0, np.nan, 0], ValueError, [r"l2\[1\]", "nan"])],
    "activation": [
        ("unknown", "foo", ValueError, ["foo"]), ("of more layers", ["relu"] * 2, ValueError, ["1 hidden"])],
    "output": [
        ("unknown", "foo", ValueError, ["foo"])],
    "loss": [
        ("of elsewhere", "bce", ValueError, ["binary_cross_entropy"])],
    "initializer": [
        ("unknown", "foo", ValueError, ["foo"])],
    "dtype": [
        ("integers", "int32", ValueError, ["int32"])],
    "label_smoothing": [
        ("too large", 2, ValueError, ["below 1"]), ("one each", [0.1] * 3, TypeError, [])],
}
FIT = {
    "X": [
        ("of another number of members", OWN_X[:2], ValueError, ["2", "3 members"]),
        ("1-D", X[0], ValueError, ["1 dim"]), ("4-D", X[None, None], ValueError, ["4 dim"]),
        ("text", "abc", TypeError, ["'abc'"]), ("None", None, TypeError, ["None"]),
        ("other features", X[:, :3], ValueError, ["3 features", "4 inputs"]),
        ("no rows", X[:0], ValueError, ["0 rows"]),
        ("own, other features", OWN_X[..., :3], ValueError, ["3 features", "4 inputs"]),
        ("complex", X * 1j, TypeError, ["complex"]), ("ragged", [[1, 2], [3]], ValueError, ["different lengths"]),
        ("own, no rows", OWN_X[:, :0], ValueError, ["0 rows"]),
        ("NaN", spoiled(X, np.nan, 3, 2), ValueError, ["row 3, column 2"]),
        ("NaN of one member", spoiled(OWN_X, np.nan, 1, 3, 2), ValueError, ["nan", "member 1", "row 3", "column 2"])],
    "y": [
        ("None", None, TypeError, ["None"]), ("text", ["a"] * ROWS, TypeError, ["'a'"]),
        ("too few", Y[:5], ValueError, ["5", "20"]),
        ("of other members", OWN_Y[:2], ValueError, [r"\(2, 20, 1\)|2 rows"]),
        ("infinite", Y * np.inf, ValueError, ["inf"]),
        ("own, too few rows", OWN_Y[:, :19], ValueError, [r"\(3, 19, 1\)|3 rows"]),
        ("two outputs", np.zeros((ROWS, 2)), ValueError, [r"\(20, 2\)", r"\(20, 1\)"]),
        ("own, two outputs", np.zeros((N, ROWS, 2)), ValueError, [r"member 0|\(3, 20, 2\)", "2"]),
        ("NaN of one member", spoiled(OWN_Y, np.nan, 2, 5), ValueError, ["nan", "member 2", "row 5"])],
    "rows": [
        ("one fold", 1, ValueError, ["from 2", "20 rows"]),
        ("more folds than rows", 21, ValueError, ["21", "20 rows"]), ("negative", -3, ValueError, ["-3"]),
        ("a fraction", 2.5, TypeError, ["2.5"]), ("text", "abc", TypeError, ["'abc'"]),
        ("too few members", [[0, 1], [2]], ValueError, ["2 entries", "3 members"]),
        ("nothing for a member", [[0], np.zeros(0, int), [2]], ValueError, ["member 1", "empty", "at least one row"]),
        ("an empty list for a member", [[0], [], [2]], ValueError, ["member 1", "empty"]),
        ("beyond X", [[0], [1], [0, 20]], ValueError, ["member 2", "20", "0 to 19"]),
        ("a dict", {0: [1], 1: [2], 2: [3]}, TypeError, []),
        ("negative numbers", [[0], [-1], [1]], ValueError, ["member 1", "-1"]),
        ("2-D", [[[0]]] * 3, TypeError, ["member 0"]), ("floats", [[0], [1.0], [2]], TypeError, ["member 1"]),
        ("None for a member", [[1], None, [0]], TypeError, ["member 1", "None"]),
        ("a mask of other length", [np.ones(19, bool)] * 3, EITHER, ["member 0", "20"]),
        ("an empty mask", [np.arange(20) > 3, np.zeros(20, bool), [1]], ValueError, ["member 1", "empty"]),
        ("all in one fold", np.zeros(ROWS, int), ValueError, ["fold 0", "no row"]),
        ("a pair that leaves out what is not there", [([0], [1])] * 2 + [([0], [30])], ValueError, ["member 2", "30"]),
        ("weights of zero", weights(m1=0), ValueError, ["member 1", "zero for every row"]),
        ("negative weights", weights(m2=-1), ValueError, ["member 2", "-1"]),
        ("NaN", weights(m0=np.nan), ValueError, ["member 0", "nan"]),
        ("weights of other rows", np.ones((N, 19)), EITHER, [])],
    "sample_weight": [
        ("of other members", np.ones((2, ROWS)), ValueError, ["2", "3 members"]), ("text", "a", TypeError, ["'a'"]),
        ("negative", weights(m1=-1), ValueError, ["member 1", "-1"]),
        ("too few", np.ones(19), ValueError, ["19", "20"]),
        ("own, too few", np.ones((N, 19)), ValueError, ["19", "20"]),
        ("3-D", np.ones((N, ROWS, 1)), ValueError, ["3, 20, 1"]),
        ("zero for one member", weights(m2=0), ValueError, ["member 2", "zero for every row"])],
    "validation_data": [
        ("rest without rows", "rest", ValueError, ["rows="]),
        ("another word", "Rest", ValueError, ["'Rest'", "'rest'"]), ("zero", 0.0, ValueError, ["above 0"]),
        ("one", 1.0, ValueError, ["below 1"]), ("X alone", (X,), TypeError, [r"\(X, y\)"]),
        ("other rows", (X, Y[:5]), ValueError, ["5", "20"]),
        ("other features", (X[:, :3], Y), ValueError, ["3 features"]),
        ("of other members", (OWN_X[:2], OWN_Y[:2]), ValueError, ["2", "3 members"]),
        ("a dict", {"X": X}, TypeError, [r"\(X, y\)"]),
        ("NaN of one member", (OWN_X, spoiled(OWN_Y, np.nan, 2, 1)), ValueError, ["member 2", "row 1"])],
    "epochs": [
        ("negative", -1, ValueError, ["-1"]), ("one each", [1, 2, 3], TypeError, []),
        ("a fraction", 1.5, TypeError, ["1.5"])],
    "batch_size": [
        ("zero", 0, ValueError, ["at least 1"]), ("one each", [8] * N, TypeError, []), ("text", "8", TypeError, [])],
    "tol": [
        ("negative", -1, ValueError, ["-1"]), ("one each", [0.1] * N, TypeError, [])],
    "time_budget": [
        ("negative", -1, ValueError, ["-1"]), ("text", "a", TypeError, ["'a'"])],
    "threads": [
        ("zero", 0, ValueError, ["at least 1"]), ("text", "a", TypeError, ["'a'"]),
        ("too many", 10**9, ValueError, ["1024"])],
    "shuffle": [
        ("True", True, ValueError, ["'own'", "'shared'", "False"]), ("None", None, ValueError, []),
        ("a word", "all", ValueError, ["'all'"]), ("an array", np.array([1, 2]), ValueError, []),
        ("a list", ["own"], ValueError, [])],
    "optimizer": [
        ("too few", [A()] * 2, ValueError, ["2 optimizers", "3 members"]), ("none", [], ValueError, ["3 members"]),
        ("of two classes", [A(), fastnn.SGD(), A()], ValueError, [r"optimizer\[1\]"]),
        ("a class", A, TypeError, ["class"]),
        ("with momentum and without", [fastnn.SGD(), fastnn.SGD(), fastnn.SGD(momentum=0.5)], ValueError,
         [r"optimizer\[2\]"]),
        ("text", "adam", TypeError, ["'adam'"]),
        ("text of a member", [A(), A(), "adam"], TypeError, [r"optimizer\[2\]", "'adam'"]),
        ("a class of a member", [A(), A, A()], TypeError, [r"optimizer\[1\]"]), ("a number", 0.1, TypeError, ["0.1"]),
        ("of whole batches, one each", [fastnn.LBFGS()] * 3, TypeError, [r"optimizer\[0\]"])],
    "early_stopping": [
        ("a class", fastnn.EarlyStopping, TypeError, []), ("a number", 3, TypeError, ["3"]),
        ("of what is not recorded", fastnn.EarlyStopping(monitor="foo"), ValueError, ["foo", "loss"]),
        ("of validation without rows", fastnn.EarlyStopping(monitor="validation_loss"), ValueError,
         ["validation_loss"])],
    "callbacks": [
        ("a number", [3], TypeError, [r"callbacks\[0\]"]), ("a class", [fastnn.Callback], TypeError, [])],
    "metrics": [
        ("for classes", ["accuracy"], ValueError, ["accuracy", "mse"]), ("unknown", ["foo"], ValueError, ["foo"]),
        ("twice", ["mae", "mae"], ValueError, ["mae"])],
    "progress": [
        ("a word", "yes", TypeError, ["'yes'"])],
}
NAMES = {"early_stopping": r"early_stopping|monitor", "metrics": "metrics|metric", "rows": r"\brows\b"}
CALLS = {
    "parameters of another shape": (lambda p: setattr(p, "parameters", np.zeros((3, 5))), ValueError, ["parameters",
        r"\(3, 5\)", r"\(3, 37\)"]),
    "parameters of one": (lambda p: setattr(p, "parameters", np.zeros(37)), ValueError, ["parameters", r"\(37,\)"]),
    "NaN in parameters": (lambda p: setattr(p, "parameters", spoiled(np.zeros((3, 37)), np.nan, 2, 4)), ValueError,
        ["parameters", "nan", "row 2", "column 4"]),
    "parameters beyond float32": (lambda p: setattr(p, "parameters", np.full((3, 37), 1e300)), ValueError,
        ["parameters", "float32"]),
    "no parameters": (lambda p: setattr(p, "parameters", None), TypeError, ["parameters", "None"]),
    "l1 of two": (lambda p: setattr(p, "l1", [1, 2]), ValueError, ["l1", "2", "3 members"]),
    "negative l2": (lambda p: setattr(p, "l2", [0, -2, 0]), ValueError, [r"l2\[1\]", "-2"]),
    "seeds": (lambda p: setattr(population(), "seeds", [1]), (AttributeError, ValueError), ["seeds"]),
    "member 3": (lambda p: p[3], IndexError, ["member 3", "3"]),
    "member -4": (lambda p: p[-4], IndexError, ["-4"]),
    "a member of text": (lambda p: p["a"], TypeError, ["'a'"]),
    "a slice": (lambda p: p[:2], TypeError, ["select"]),
    "select none": (lambda p: p.select([]), EITHER, ["members"]),
    "select 3": (lambda p: p.select([0, 3]), IndexError, ["members", "3", "0 to 2"]),
    "select -1": (lambda p: p.select([-1]), IndexError, ["members", "-1"]),
    "select a number": (lambda p: p.select(1), TypeError, ["members"]),
    "select text": (lambda p: p.select("a"), TypeError, ["members"]),
    "select None": (lambda p: p.select(None), TypeError, ["members"]),
    "select floats": (lambda p: p.select([0.0, 1.0]), TypeError, ["members"]),
    "select a mask of 4": (lambda p: p.select(np.ones(4, bool)), TypeError, ["members", "3"]),
    "select 2-D": (lambda p: p.select([[0, 1]]), TypeError, ["members"]),
    "predict own": (lambda p: p.predict(OWN_X), ValueError, ["X", "predict_each"]),
    "predict other features": (lambda p: p.predict(X[:, :3]), ValueError, ["X", "3 features", "4 inputs"]),
    "predict NaN": (lambda p: p.predict(spoiled(X, np.nan, 3, 1)), ValueError, ["X", "row 3, column 1"]),
    "predict nothing": (lambda p: p.predict(X[:0]), ValueError, ["X", "0 rows"]),
    "predict text": (lambda p: p.predict("a"), TypeError, ["X"]),
    "predict a number": (lambda p: p.predict(1.0), ValueError, ["X", "0 dim"]),
    "predict_each shared": (lambda p: p.predict_each(X), ValueError, ["X", r"\(20, 4\)", r"\(3, 4\)", r"rows, 4\)"]),
    "predict_each other features": (lambda p: p.predict_each(np.zeros((3, 5))), ValueError, ["X", "5 features"]),
    "predict_each of two": (lambda p: p.predict_each(OWN_X[:2]), ValueError, ["X", r"\(2, 20, 4\)"]),
    "predict_each NaN": (lambda p: p.predict_each(spoiled(OWN_X, np.nan, 1, 3, 2)), ValueError, ["X", "nan",
        "member 1", "row 3"]),
    "predict_each a row": (lambda p: p.predict_each(X[0]), ValueError, ["X", r"\(4,\)"]),
    "mean_std own": (lambda p: p.mean_std(OWN_X), ValueError, ["X"]),
    "evaluate too few": (lambda p: p.evaluate(X, Y[:3]), ValueError, ["y", "3", "20"]),
    "evaluate no y": (lambda p: p.evaluate(X, None), TypeError, ["y", "None"]),
    "evaluate zero weights": (lambda p: p.evaluate(X, Y, sample_weight=weights(m1=0)), ValueError, ["sample_weight",
        "member 1", "zero"]),
    "score of two": (lambda p: p.score(OWN_X[:2], OWN_Y[:2]), ValueError, ["X", "2", "3 members"]),
    "save nowhere": (lambda p: p.save("/nowhere/model"), OSError, ["/nowhere"]),
    "save to None": (lambda p: p.save(None), TypeError, ["None"]),
}
