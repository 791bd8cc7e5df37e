"""MLPClassifier and MLPRegressor: scikit-learn's, trained by fastnn. Change one import.

Parameters, defaults, attributes and warnings are scikit-learn's, and so are, for the same
`random_state`, the initial weights and the rows held out; further parameters stand at the end.
`cross_validate`, `GridSearchCV` and `HalvingGridSearchCV` are scikit-learn's too, and train many
networks at once.

    estimators.py   the two estimators, and what they differ in
    multilayer.py   their common base: a fit, the network after the last epoch
    preparation.py  the base of that: from the rows to the network before the first epoch
    parameters.py   the base of that: parameters, their checks, the optimizer they name
    rows.py         checks and conversions of rows, targets and weights
    epochs.py       what scikit-learn does between epochs
    outputs.py      probabilities and their logarithms
    together.py     fits of one shape of network, trained as one population
    ensemble.py     estimators of several networks
    searches.py     cross_validate and the searches, by rehearsal.py: scikit-learn's own, asked for the fits they need

Nothing here computes: it translates scikit-learn's terms into those of a Network.
"""

from .._checks import library

library("sklearn.callback", "scikit-learn 1.9 or newer", "sklearn", "fastnn.sklearn")

from .estimators import MLPClassifier, MLPRegressor  # noqa: E402 (it imports scikit-learn)
from .searches import GridSearchCV, HalvingGridSearchCV, cross_validate  # noqa: E402

__all__ = ["GridSearchCV", "HalvingGridSearchCV", "MLPClassifier", "MLPRegressor", "cross_validate"]
