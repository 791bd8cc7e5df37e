"""Who learns from tables: fastnn, and those of its peers that are installed, each with its defaults on one thread.

    model = METHODS[name].make(task, seed)
    model.fit(frame, target)        # what it costs to prepare the columns belongs to it
    model.classes                   # of the columns of predict's probabilities; None for numbers
    model.predict(frame)            # probabilities (n, classes), or numbers (n,)

A peer has its categories the way it wants them; how numbers and categories are told apart is the same for all of them.
"""

import re
from dataclasses import dataclass
from importlib import metadata

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastnn

DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")


class Columns:
    """What a table's columns are, learnt from the rows to train on: numbers, dates as numbers of days, categories.

    `most` categories of a column are kept, the most frequent ones; all others, and those never seen, are gaps.
    """

    def __init__(self, frame, most=None):
        self.dates, self.categories = [], {}
        for name in frame:
            values = frame[name].dropna()
            if pd.api.types.is_numeric_dtype(values):
                continue
            if len(values) and values.map(lambda cell: DATE.fullmatch(str(cell)) is not None).all():
                self.dates.append(name)
            else:
                self.categories[name] = pd.CategoricalDtype(sorted(values.value_counts().index[:most]))

    def __call__(self, frame):
        """The frame with float64 and category columns, called c0, c1 …: no peer minds such names."""
        frame = frame.copy()
        for name in frame:
            if name in self.categories:
                kept = frame[name].isin(self.categories[name].categories)
                frame[name] = frame[name].where(kept).astype(self.categories[name])
            elif name in self.dates:
                when = pd.to_datetime(frame[name], dayfirst=True, format="mixed")
                frame[name] = (when - pd.Timestamp("2000-01-01")) / pd.Timedelta(days=1)
            else:
                frame[name] = frame[name].astype("float64")
        return frame.set_axis([f"c{position}" for position in range(frame.shape[1])], axis=1)


def category_names(X):
    return list(X.columns[X.dtypes == "category"])


class Peer:
    """A peer with scikit-learn's interface. A subclass says how it is made, and what it wants to be given."""

    most_categories = None

    def __init__(self, task, seed):
        self.classifies, self.seed, self.classes = task == "classification", seed, None

    def estimator(self, X):
        raise NotImplementedError

    def wanted(self, X):
        """The columns as this peer wants them."""
        return X

    def fit_estimator(self, X, y):
        self.model.fit(X, y)

    def fit(self, frame, target):
        X, y = frame.drop(columns=target), frame[target].to_numpy()
        if self.classifies:
            self.classes, y = np.unique(y.astype(str), return_inverse=True)
        self.columns = Columns(X, self.most_categories)
        X = self.columns(X)
        self.model = self.estimator(X)
        self.fit_estimator(self.wanted(X), y)

    def predict(self, frame):
        X = self.wanted(self.columns(frame))
        return np.asarray(self.model.predict_proba(X) if self.classifies else self.model.predict(X), float)


class HistGradientBoosting(Peer):
    most_categories = 254           # it takes no more of a column

    def estimator(self, X):
        kind = HistGradientBoostingClassifier if self.classifies else HistGradientBoostingRegressor
        return kind(categorical_features="from_dtype", random_state=self.seed)


class LightGBM(Peer):
    def estimator(self, X):
        import lightgbm
        kind = lightgbm.LGBMClassifier if self.classifies else lightgbm.LGBMRegressor
        return kind(n_jobs=1, verbose=-1, random_state=self.seed)


class XGBoost(Peer):
    def estimator(self, X):
        import xgboost
        kind = xgboost.XGBClassifier if self.classifies else xgboost.XGBRegressor
        return kind(n_jobs=1, enable_categorical=True, random_state=self.seed)


class CatBoost(Peer):
    def estimator(self, X):
        import catboost
        kind = catboost.CatBoostClassifier if self.classifies else catboost.CatBoostRegressor
        return kind(thread_count=1, verbose=False, allow_writing_files=False, random_seed=self.seed,
                    cat_features=category_names(X))

    def wanted(self, X):
        return X.assign(**{name: X[name].astype(object).fillna("") for name in category_names(X)})


class RealMLP(Peer):
    """pytabkit's network with its tuned defaults. It takes no gaps in numbers, so they get the median."""

    def estimator(self, X):
        from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor
        self.medians = X.median(numeric_only=True).fillna(0)
        kind = RealMLP_TD_Classifier if self.classifies else RealMLP_TD_Regressor
        return kind(device="cpu", n_threads=1, random_state=self.seed)

    def wanted(self, X):
        return X.fillna(self.medians)

    def fit_estimator(self, X, y):
        self.model.fit(X, y, cat_col_names=category_names(X))


class Linear(Peer):
    """Logistic or ridge regression: medians in gaps and a column that says so, standard scale, one-hot categories."""

    def estimator(self, X):
        categories = make_column_selector(dtype_include="category")
        columns = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), categories),
            (make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()),
             make_column_selector(dtype_exclude="category")))
        return make_pipeline(columns, LogisticRegression(max_iter=1000) if self.classifies else Ridge())


class FastNN:
    members = 8

    def __init__(self, task, seed):
        kind = fastnn.TableClassifier if task == "classification" else fastnn.TableRegressor
        self.model, self.classes = kind(members=self.members, seed=seed), None

    def fit(self, frame, target):
        self.model.fit(frame, target)
        if isinstance(self.model, fastnn.TableClassifier):
            self.classes = np.array([str(name) for name in self.model.classes_])

    def predict(self, frame):
        return self.model.predict(frame) if self.classes is None else self.model.predict_proba(frame)


class FastNNOne(FastNN):
    members = 1


@dataclass(frozen=True)
class Method:
    title: str
    make: type
    package: str

    @property
    def version(self):
        """Of the package, or None where it is not installed."""
        if self.package == "fastnn":
            return fastnn.__version__
        for name in (self.package, f"{self.package}-cpu"):
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                pass
        return None


METHODS = {
    "fastnn-8": Method("fastnn, 8 members", FastNN, "fastnn"),
    "fastnn-1": Method("fastnn, one network", FastNNOne, "fastnn"),
    "hist-gradient-boosting": Method("HistGradientBoosting", HistGradientBoosting, "scikit-learn"),
    "lightgbm": Method("LightGBM", LightGBM, "lightgbm"),
    "xgboost": Method("XGBoost", XGBoost, "xgboost"),
    "catboost": Method("CatBoost", CatBoost, "catboost"),
    "realmlp": Method("RealMLP (pytabkit)", RealMLP, "pytabkit"),
    "linear": Method("logistic, ridge", Linear, "scikit-learn"),
}
