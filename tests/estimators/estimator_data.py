"""Rows and settings with which the tests of the estimators train: digits to classify, and diabetes as a regression.

No test is here.
"""

from sklearn.datasets import load_diabetes, load_digits
from sklearn.preprocessing import scale

X, Y = load_digits(return_X_y=True)
X, Y = X[:300] / 16, Y[:300]
XR, YR = load_diabetes(return_X_y=True)
XR, YR = scale(XR)[:200], YR[:200]
SMALL = {"hidden_layer_sizes": (12,), "max_iter": 15, "random_state": 0, "learning_rate_init": 0.01}
