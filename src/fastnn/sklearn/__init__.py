"""MLPClassifier and MLPRegressor: scikit-learn's, trained by fastnn. Change one import.

Parameters, defaults, attributes and warnings are scikit-learn's, and so are, for the same
`random_state`, the initial weights and the rows held out; further parameters stand at the end.

    estimators.py   the two estimators, and what they differ in
    multilayer.py   their common base: a fit, from the rows to the network after the last epoch
    parameters.py   the base of that: parameters, their checks, the optimizer they name
    rows.py         checks and conversions of rows, targets and weights
    epochs.py       what scikit-learn does between epochs, as callbacks of a fit

Nothing here computes: it translates scikit-learn's terms into those of a Network.
"""

from .._checks import library

library("sklearn.callback", "scikit-learn 1.9 or newer", "sklearn", "fastnn.sklearn")

from .estimators import MLPClassifier, MLPRegressor  # noqa: E402 (it imports scikit-learn)

__all__ = ["MLPClassifier", "MLPRegressor"]
