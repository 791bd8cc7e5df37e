"""MLPClassifier and MLPRegressor: scikit-learn's, trained by fastnn. Change one import.

Parameters, defaults, attributes and warnings are scikit-learn's, and so are, for the same
`random_state`, the initial weights and the rows held out; further parameters stand at the end.
Nothing here computes: it translates scikit-learn's words into those of a Network (multilayer.py,
estimators.py), and what scikit-learn does between epochs into callbacks (epochs.py).
"""

from .._optional import library

library("sklearn.callback", "scikit-learn 1.9 or newer", "sklearn", "fastnn.sklearn")

from .estimators import MLPClassifier, MLPRegressor  # noqa: E402 (it imports scikit-learn)

__all__ = ["MLPClassifier", "MLPRegressor"]
