"""Words of Keras, PyTorch and scikit-learn for which fastnn has other words, and the advice that an error gives.

The tables hold the words, the functions below find the advice. No word in the tables is accepted as an argument: fastnn
has one name for each thing, and an error tells it. There are two ways here: `_checks.choose` asks `meant` about an
unknown name, such as activation="swish"; the decorator `explains` asks about an unknown argument, such as lr=0.1.

Words are compared by their letters and digits in lower case, without the module: "torch.nn.BCELoss" is "bceloss".
"""

from __future__ import annotations

import re
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def for_each(words: str, advice: str) -> dict[str, str]:
    """{word: advice} for several words, separated by spaces."""
    return dict.fromkeys(words.split(), advice)


# For each kind of name {fastnn's name: other libraries' words for the same thing}. The last two kinds have fastnn's
# objects in place of names. An error suggests only names that the call accepts.
NAMES: dict[str, dict[str, str]] = {
    "activation": {
        "identity": "linear none noop passthrough lineartransform",
        "sigmoid": "logistic expit logisticsigmoid",
        "tanh": "hyperbolictangent tansig",
        "relu": "rectifier rectified rectifiedlinear rectlinear ramp poslin",
        "leaky_relu": "lrelu leakyrectify leakyrectifier",
        "elu": "exponentiallinearunit",
        "selu": "scaledelu scaledexponentiallinearunit",
        "softplus": "smoothrelu",
        "silu": "swish swish1",
        "gelu": "gaussianerrorlinearunit",
        "softmax": "softmax2d softargmax",
        "exp": "exponential",
    },
    "loss": {
        "mse": "meansquarederror meansquareerror squarederror squaredloss squared l2 l2loss leastsquares ls quadratic "
               "regression",
        "half_mse": "halfmeansquarederror halfsquarederror",
        "mae": "meanabsoluteerror absoluteerror absolute l1 l1loss lad leastabsolutedeviation",
        "huber": "smoothl1 huberloss",
        "poisson": "poissonnll poissondeviance halfpoisson",
        "quantile": "pinball",
        "binary_cross_entropy": "bce bcewithlogits binarylogloss logloss logistic binomial binomialdeviance bernoulli "
                                "sigmoidcrossentropy sigmoidbinarycrossentropy softmargin",
        "cross_entropy": "ce categoricalcrossentropy sparsecategoricalcrossentropy crossentropywithlogits nll "
                         "negativeloglikelihood softmaxcrossentropy softmax logloss deviance multinomial "
                         "multinomiallogistic",
        "focal": "sigmoidfocal binaryfocalcrossentropy categoricalfocalcrossentropy focalcrossentropy",
    },
    "initializer": {
        "he_normal": "kaimingnormal kaiming he msra msranormal",
        "he_uniform": "kaiminguniform kaiming he msrauniform",
        "glorot_normal": "xaviernormal xavier glorot",
        "glorot_uniform": "xavieruniform xavier glorot",
        "lecun_normal": "lecun",
        "lecun_uniform": "lecun",
    },
    "metrics": {
        "accuracy": "acc accuracyscore categoricalaccuracy binaryaccuracy sparsecategoricalaccuracy multiclassaccuracy",
        "r2": "r2score rsquared rsquare coefficientofdetermination",
        "mae": "meanabsoluteerror absoluteerror l1",
        "mse": "meansquarederror squarederror l2",
        "rmse": "rootmeansquarederror",
    },
    "dtype": {
        "float32": "single f32 fp32 floattensor",
        "float64": "double f64 fp64 doubletensor",
    },
    "solver": {
        "lbfgs": "bfgs lbfgsb",
        "sgd": "momentum nesterov nag gd",
    },
    "an optimizer": {
        "fastnn.Adam()": "adam",
        "fastnn.AdamW()": "adamw",
        "fastnn.SGD(0.01)": "sgd gd gradientdescent",
        "fastnn.SGD(0.01, momentum=0.9)": "momentum sgdm",
        "fastnn.SGD(0.01, momentum=0.9, nesterov=True)": "nesterov nag",
        "fastnn.RMSprop()": "rmsprop",
        "fastnn.Adagrad()": "adagrad",
        "fastnn.Rprop()": "rprop resilient",
        "fastnn.LBFGS()": "lbfgs bfgs lbfgsb",
        "fastnn.LevenbergMarquardt()": "lm trainlm levenbergmarquardt levenberg marquardt leastsquares leastsq",
    },
    "a learning rate": {
        "fastnn.schedules.StepDecay(0.1, every=10)": "step steplr stepdecay piecewise piecewiseconstant multisteplr",
        "fastnn.schedules.ExponentialDecay(0.1, factor=0.95)": "exponential exponentiallr exponentialdecay exp",
        "fastnn.schedules.CosineDecay(0.1, length=100)": "cosine cosineannealing cosineannealinglr cosinedecay",
        "fastnn.schedules.OneCycle(0.1, length=1000)": "onecycle onecyclelr 1cycle",
        "fastnn.schedules.ReduceOnPlateau(0.1)": "adaptive plateau reducelronplateau reduceonplateau",
        "fastnn.schedules.WarmUp(0.1, length=100)": "warmup linearwarmup",
        "0.001": "constant auto default",
        "lambda epoch: 0.1 / (1 + epoch)**0.5": "invscaling inversescaling optimal lambdalr",
    },
    "mode": {},
    "monitor": {
        "loss": "trainloss trainingloss",
        "validation_loss": "valloss validloss testloss evalloss",
        **{f"{prefix}{name}": " ".join(before + word for before in others.split() for word in words.split())
           for prefix, others in (("", "train training"), ("validation_", "val valid test eval"))
           for name, words in (("accuracy", "accuracy acc"), ("r2", "r2 r2score"), ("mae", "mae meanabsoluteerror"),
                               ("mse", "mse meansquarederror"), ("rmse", "rmse rootmeansquarederror"))},
        "accuracy": "acc",
    },
}
OWN_LOSS = "write it as a Python function (outputs, targets) -> (value, gradient)"
OWN_METRIC = "write it as a function (y, outputs) -> float"
SET_WEIGHTS = "set the weights themselves: net.weights[0][...] = W"
# For each kind {another library's name for what fastnn does not have: what to do instead}.
ABSENT: dict[str, dict[str, str]] = {
    "activation": {
        **for_each("hardsigmoid logsigmoid sparsesigmoid", "'sigmoid' is the nearest"),
        **for_each("hardtanh tanhshrink softsign softshrink hardshrink threshold", "'tanh' is the nearest"),
        **for_each("relu6 prelu rrelu crelu srelu thresholdedrelu squaredrelu relu2 glu reglu",
               "'relu' and 'leaky_relu' are the nearest"),
        **for_each("hardswish hardsilu mish swiglu", "'silu' is the nearest"),
        **for_each("geglu quickgelu gelunew gelutanh", "'gelu' is the nearest"),
        **for_each("logsoftmax softmin hardmax sparsemax",
               "'softmax' is the nearest, and its loss is computed from logarithms"),
        "celu": "'elu' is the same for alpha 1",
        "squareplus": "'softplus' is the nearest",
    },
    "loss": {
        **for_each(
            "hinge squaredhinge categoricalhinge modifiedhuber perceptron multimargin multilabelmargin hingeembedding "
            "multilabelsoftmargin", "for classes take 'cross_entropy', or 'binary_cross_entropy'"),
        **for_each("kld kldiv kldivergence kullbackleiblerdivergence",
                   "'cross_entropy' with probabilities as targets has the same gradient"),
        "rmse": "'mse' has the same minimum", "rootmeansquarederror": "'mse' has the same minimum",
        **for_each("logcosh epsiloninsensitive squaredepsiloninsensitive", "'huber' is the nearest"),
        **for_each(
            "mape meanabsolutepercentageerror msle meansquaredlogarithmicerror meansquaredlogerror gaussiannll "
            "cosinesimilarity cosine cosineembedding cosineproximity tripletmargin triplet marginranking ctc gamma "
            "tweedie dice iou tversky sse mbe medae wasserstein crps exponential circle", OWN_LOSS),
    },
    "initializer": {
        **for_each("zeros zero ones one constant",
               f"units that start alike stay alike; to do so nevertheless, {SET_WEIGHTS}"),
        **for_each(
            "orthogonal identity eye dirac sparse truncnormal truncatednormal randomnormal randomuniform normal "
            "uniform random variancescaling default auto", SET_WEIGHTS),
    },
    "metrics": {
        **for_each(
            "auc rocauc f1 f1score precision recall logloss crossentropy binarycrossentropy categoricalcrossentropy "
            "mape meanabsolutepercentageerror msle explainedvariance balancedaccuracy topkaccuracy "
            "topkcategoricalaccuracy matthewscorrcoef mcc kappa hinge cosinesimilarity kld negmeansquarederror "
            "negmeanabsoluteerror negrootmeansquarederror negmse negmae negloglos medianabsoluteerror maxerror "
            "averageprecision confusionmatrix", OWN_METRIC),
    },
    "dtype": for_each("float16 half bfloat16 fp16 bf16 float8 int int32 int64 int8 uint8 longdouble float128 "
                      "object bool complex64 complex128", "networks compute in 'float32' or 'float64'"),
    "solver": for_each("adamax nadam adadelta radam ftrl lion liblinear newtoncg sag saga", "'adam' is usual"),
    "an optimizer": for_each(
        "adamax nadam adadelta radam ftrl lion asgd sparseadam adafactor muon lamb lars yogi adabelief ranger",
        "fastnn.Adam() or fastnn.AdamW()"),
    "mode": {},
    "a learning rate": {},
    "monitor": {},
}
# For each kind {another library's name for what fastnn has, but not under a name of this kind: what to write}.
ELSEWHERE: dict[str, dict[str, str]] = {
    "solver": {
        **for_each("adamw rmsprop adagrad rprop", "pass the optimizer itself, such as solver=fastnn.AdamW()"),
        **for_each("lm trainlm levenbergmarquardt", "pass the optimizer itself, solver=fastnn.LevenbergMarquardt()"),
    },
    "metrics": {"loss": "the loss is recorded anyhow"},
    "mode": {"auto": "leave it out, and it is found from the name"},
    "learning_rate": for_each("float float32 float64 int", "pass a number as learning_rate_init=0.01, or in an "
                              "optimizer, solver=fastnn.Adam(0.01)"),
    "monitor": {"history": "as_dict() gives every list by its name", "plot": "fastnn.plot.loss_curves draws it"},
}
# {argument: kind of its names}, where these have different words.
KINDS = {"output": "activation", "activations": "activation", "name": "activation"}

# {fastnn's name of an argument: other libraries' names of it}.
ARGUMENTS: dict[str, str] = {
    "X": "x inputs data features x_train train_x train_data xtrain input samples",
    "y": "Y targets target labels y_train train_y ytrain outputs",
    "epochs": "max_iter n_epochs num_epochs nb_epoch nb_epochs epoch iterations n_iter max_epochs n_iterations "
              "num_iter max_steps",
    "batch_size": "batchsize batch mini_batch_size minibatch_size bs",
    "steps_per_epoch": "steps batches_per_epoch num_batches limit_train_batches",
    "optimizer": "solver optim opt algorithm trainer",
    "learning_rate": "lr eta eta0 step_size stepsize learning_rate_init initial_learning_rate base_lr init_lr alpha0",
    "validation_data": "validation_split validation_fraction val_data valid_data eval_set validation val_split "
                       "test_size validation_set val eval_data dev_data X_val y_val validation_ratio",
    "class_weight": "class_weights pos_weight scale_pos_weight",
    "sample_weight": "sample_weights weights weight w",
    "metrics": "metric scoring scorer eval_metric weighted_metrics",
    "progress": "verbose verbosity progress_bar disp show_progress tqdm",
    "callbacks": "callback hooks",
    "early_stopping": "early_stop earlystopping es",
    "time_budget": "max_time time_limit timeout max_seconds",
    "threads": "n_jobs num_threads workers nthread n_threads num_workers use_multiprocessing",
    "communicator": "comm mpi strategy distribute",
    "tol": "tolerance atol",
    "layer_sizes": "hidden_layer_sizes hidden_layers hidden_sizes hidden layers sizes units input_dim input_shape "
                   "n_inputs in_features out_features n_features input_size output_size hidden_size n_outputs "
                   "output_dim n_hidden architecture num_classes n_classes neurons layer_size dims",
    "activation": "activations hidden_activation activation_function act nonlinearity act_fn activation_fn",
    "output": "output_activation out_activation final_activation last_activation activation_output "
              "output_activation_function out_act",
    "loss": "loss_fn loss_function criterion objective cost error",
    "initializer": "kernel_initializer init weight_init initialization weights_init init_method weight_initializer",
    "dtype": "precision data_type dtype_policy",
    "seed": "random_state random_seed rng rseed",
    "dropout": "dropout_rate rate drop p drop_rate dropout_p dropouts hidden_dropout",
    "l1": "l1_reg l1_penalty lasso reg_l1",
    "l2": "alpha weight_decay l2_reg kernel_regularizer regularization penalty reg l2_penalty ridge reg_l2 reg_lambda "
          "lambda_",
    "label_smoothing": "smoothing label_smooth smooth",
    "momentum": "mu momentum_factor",
    "nesterov": "nesterovs_momentum use_nesterov nesterov_momentum",
    "weight_decay": "l2 wd alpha l2_penalty",
    "beta1": "beta_1 betas b1 momentum beta",
    "beta2": "beta_2 betas b2",
    "alpha": "rho decay_rate smoothing_constant",
    "epsilon": "eps",
    "learning_rate_decay": "lr_decay decay",
    "clip_norm": "clipnorm global_clipnorm max_norm gradient_clip_norm max_grad_norm gradient_clip_val grad_clip",
    "clip_value": "clipvalue gradient_clip_value",
    "etas": "etaminus etaplus eta_minus eta_plus",
    "step_sizes": "step_size_min step_size_max delta_min delta_max",
    "history_size": "m maxcor n_corrections",
    "tolerance_gradient": "tolerance_grad gtol pgtol min_grad tol",
    "tolerance_change": "ftol factr",
    "mu": "damping damping_factor initial_mu mu_init lambda_ lam tau",
    "mu_factor": "mu_inc mu_dec damping_increase damping_decrease up_factor",
    "mu_max": "max_mu max_damping",
    "max_parameters": "max_params parameter_limit",
    "max_evaluations": "max_eval maxfun max_fun maxfev",
    "patience": "n_iter_no_change wait early_stopping_rounds",
    "min_change": "min_delta tol threshold delta",
    "monitor": "metric watch",
    "restore_best": "restore_best_weights restore restore_best_model",
    "path": "filepath filename file fname file_path dirpath f filename_or_obj",
    "seconds": "every_n_seconds save_secs train_time_interval",
    "rate": "lr learning_rate initial_learning_rate base_lr start_rate init_value initial_rate initial_lr",
    "highest_rate": "max_lr max_learning_rate peak_value lr learning_rate rate",
    "final_rate": "eta_min min_lr end_value end_learning_rate lowest_rate",
    "lowest_rate": "min_lr eta_min final_rate",
    "factor": "gamma decay_rate drop",
    "every": "step_size decay_steps period transition_steps",
    "length": "T_max total_steps decay_steps warmup_steps warmup_epochs num_warmup_steps total_iters steps epochs "
              "warmup max_iter",
    "rise": "pct_start warmup_fraction",
    "start_divisor": "div_factor",
    "final_divisor": "final_div_factor",
    "schedule_or_rate": "rate learning_rate lr schedule scheduler target after",
    "function": "lr_lambda schedule fn func f",
    "q": "tau alpha level quantile",
    "members": "n_members n_estimators ensemble_size n_ensemble n_networks n_models max_models n_folds cv",
    "hidden": "hidden_layer_sizes hidden_layers hidden_sizes hidden_size layer_sizes layers n_hidden neurons units",
    "kinds": "column_types dtypes feature_types types cat_features categorical_features categorical categories",
    "missing": "na_values missing_values missing_value nan null_values",
    "drop": "ignore exclude drop_columns ignore_columns",
    "gamma": "focusing focus",
}
# {call: entries that replace those of ARGUMENTS for this call}.
ARGUMENTS_OF = {"CheckpointEvery": {"epochs": "save_freq period every every_n_epochs interval freq frequency"}}
# {fastnn's name of an argument: the values that it takes}, where other libraries' argument takes other values.
VALUES: dict[str, str] = {
    "layer_sizes": "[inputs, hidden, …, outputs]", "validation_data": "0.2, or rows (X, y)",
    "progress": "True or False",
    "optimizer": "such as fastnn.Adam(0.001)", "epochs": "passes over the rows",
    "output": "the last layer's activation",
    "early_stopping": "fastnn.EarlyStopping(patience=10)", "callbacks": "[a fastnn.Callback, …]",
    "beta1": "betas[0]", "beta2": "betas[1]",
}
# {fastnn's name of an argument: the call it belongs to}, for errors of other calls.
PLACES: dict[str, str] = {
    "epochs": "fit(epochs=…)", "batch_size": "fit(batch_size=…)", "optimizer": "fit(optimizer=fastnn.Adam())",
    "steps_per_epoch": "fit(steps_per_epoch=…), for an iterable of batches",
    "learning_rate": "the optimizer: fit(optimizer=fastnn.Adam(learning_rate=0.001))",
    "validation_data": "fit(validation_data=0.2), or (X, y)", "class_weight": "fit(class_weight=…)",
    "sample_weight": "fit, evaluate, score and gradients: sample_weight=…",
    "metrics": "fit and evaluate: metrics=['accuracy']", "progress": "fit(progress=True)",
    "callbacks": "fit(callbacks=[…])", "early_stopping": "fit(early_stopping=fastnn.EarlyStopping(patience=10))",
    "patience": "fit(early_stopping=fastnn.EarlyStopping(patience=10))",
    "min_change": "fit(early_stopping=fastnn.EarlyStopping(min_change=…))",
    "monitor": "fit(early_stopping=fastnn.EarlyStopping(monitor=…))",
    "restore_best": "fit(early_stopping=fastnn.EarlyStopping(restore_best=True))",
    "time_budget": "fit(time_budget=seconds)", "threads": "fit(threads=…) or fastnn.set_num_threads",
    "communicator": "fit(communicator=…)", "tol": "fit(tol=…)", "shuffle": "fit(shuffle=…)",
    "layer_sizes": "fastnn.Network([inputs, hidden, …, outputs])", "activation": "fastnn.Network(…, activation='relu')",
    "output": "fastnn.Network(…, output='softmax')", "loss": "fastnn.Network(…, loss='mse')",
    "initializer": "fastnn.Network(…, initializer='he_normal')", "dtype": "fastnn.Network(…, dtype='float64')",
    "seed": "fastnn.Network(…, seed=0)", "dropout": "fastnn.Network(…, dropout=0.2)",
    "l1": "fastnn.Network(…, l1=1e-4)", "l2": "fastnn.Network(…, l2=1e-4)",
    "label_smoothing": "fastnn.Network(…, label_smoothing=0.1)",
    "momentum": "the optimizer: fastnn.SGD(0.01, momentum=0.9)",
    "nesterov": "the optimizer: fastnn.SGD(0.01, momentum=0.9, nesterov=True)",
    "weight_decay": "fastnn.AdamW(weight_decay=0.01), fastnn.SGD, or fastnn.Network(…, l2=1e-4)",
    "beta1": "the optimizer: fastnn.Adam(beta1=0.9)", "beta2": "the optimizer: fastnn.Adam(beta2=0.999)",
    "epsilon": "the optimizer: fastnn.Adam(epsilon=1e-8)", "clip_norm": "the optimizer: fastnn.Adam(clip_norm=1.0)",
    "clip_value": "the optimizer: fastnn.Adam(clip_value=1.0)",
    "max_evaluations": "the optimizer: fastnn.LBFGS(max_evaluations=…)",
    "mu_max": "the optimizer: fastnn.LevenbergMarquardt(mu_max=1e10)",
    "history_size": "the optimizer: fastnn.LBFGS(history_size=10)",
    "learning_rate_decay": "a schedule: fastnn.SGD(fastnn.schedules.ExponentialDecay(0.1, factor=0.95))",
    "X": "fit(X, y)", "y": "fit(X, y)",
}
# {another library's argument that has no counterpart: what to do instead}.
NO_COUNTERPART: dict[str, str] = {
    **for_each("device cuda gpu use_gpu gpus accelerator map_location pin_memory",
           "fastnn computes on the CPU"),
    **for_each("use_bias bias bias_initializer fit_intercept intercept",
           "every layer has biases, which start at zero"),
    **for_each("warm_start initial_epoch reset",
           "fit goes on where the last one stopped; a new Network starts anew"),
    **for_each("scheduler lr_scheduler learning_rate_schedule schedule power_t anneal_strategy milestones",
           "a schedule is the optimizer's learning rate: "
           "fastnn.SGD(fastnn.schedules.CosineDecay(0.1, length=100))"),
    **for_each("drop_last drop_remainder", "the last batch of an epoch may be shorter"),
    **for_each("dataset train_loader dataloader loader generator train_dataset",
           "pass it as X: an iterable of batches (X, y)"),
    **for_each("params parameters model network", "an optimizer gets its network in fit"),
    **for_each("foreach fused capturable differentiable jit_compile run_eagerly amsgrad centered maximize dampening "
           "use_ema ema_momentum ema_overwrite_frequency loss_scale_factor gradient_accumulation_steps "
           "initial_accumulator_value line_search_fn decoupled_weight_decay last_epoch save_best_only "
           "save_weights_only baseline start_from_epoch validation_freq validation_steps validation_batch_size "
           "max_queue_size cooldown", "leave it out: there is no such thing here"),
    **for_each("batch_norm batchnorm use_batch_norm layer_norm normalize normalization standardize scale",
           "scale the columns of X before, or use fastnn.sklearn.MLPClassifier(standardize=True)"),
    **for_each("from_logits reduction size_average reduce",
           "losses are means over rows, computed from logits by themselves"),
    **for_each("name trainable", "leave it out, or keep it in net.metadata"),
    **for_each("custom_objects compile weights_only safe_mode pickle_module overwrite save_format protocol",
           "leave it out: a file holds no code, and a save replaces it"),
    "shuffle": "fit(shuffle=…) does it",
    **for_each("mode threshold_mode", "a loss is better where it is smaller"),
}
# {a name in another library's modules: what to use}, for an unknown `fastnn.<name>`.
PUBLIC: dict[str, str] = {
    **for_each("Sequential Model Dense Linear MLP NeuralNetwork Input Layer Module Dropout Activation nn layers models",
           "fastnn.Network([inputs, hidden, …, outputs])"),
    **for_each("MLPClassifier MLPRegressor Classifier Regressor",
           "fastnn.sklearn.MLPClassifier and fastnn.sklearn.MLPRegressor"),
    **for_each("RMSProp Rmsprop rmsprop", "fastnn.RMSprop"), "AdaGrad": "fastnn.Adagrad",
    "RProp": "fastnn.Rprop", "adam": "fastnn.Adam", "sgd": "fastnn.SGD", "L_BFGS": "fastnn.LBFGS",
    **for_each("LM Levenberg levenberg_marquardt trainlm", "fastnn.LevenbergMarquardt"),
    **for_each("Momentum Nesterov", "fastnn.SGD(0.01, momentum=0.9)"),
    **for_each("Adamax Nadam NAdam Adadelta RAdam Lion Ftrl", "fastnn.Adam or fastnn.AdamW"),
    **for_each("optim Optimizer", "fastnn.SGD, fastnn.Adam … ; what they share is in fastnn.optimizers"),
    **for_each("ModelCheckpoint Checkpoint", "fastnn.CheckpointEvery"),
    **for_each("ReduceLROnPlateau StepLR ExponentialLR CosineAnnealingLR OneCycleLR LearningRateScheduler StepDecay "
           "ExponentialDecay CosineDecay OneCycle ReduceOnPlateau WarmUp lr_scheduler scheduler", "fastnn.schedules"),
    **for_each("load_model read", "fastnn.load"), **for_each("save save_model", "net.save(path)"),
    **for_each("to_onnx from_onnx to_torch from_torch to_sklearn from_sklearn from_keras to_c", "fastnn.interchange"),
    "set_threads": "fastnn.set_num_threads", "seed": "fastnn.Network(…, seed=0)",
    "manual_seed": "fastnn.Network(…, seed=0)", "quantile": "fastnn.losses.quantile", "focal": "fastnn.losses.focal",
    "DataParallel": "fastnn.distributed.DataParallel",
    **for_each("relu sigmoid tanh softmax functional", "fastnn.activations"),
}


def simple(word: str) -> str:
    """The letters and digits of a word in lower case, without the module before it."""
    return re.sub(r"[^a-z0-9]", "", word.rsplit(".", 1)[-1].lower())


def spellings(name: object) -> list[str]:
    """The words under which a name may be in the tables. Of a class, a function or an object the name is its own."""
    word = name if isinstance(name, str) else getattr(name, "name", None)
    if not isinstance(word, str):
        word = getattr(name, "__name__", None) or type(name).__name__
    word = simple("none" if name is None else word)
    return [word, *(word.removesuffix(end) for end in ("loss", "activation", "optimizer") if word.endswith(end))]


def synonyms(kind: str, name: object, known: Iterable[str]) -> list[str]:
    """Those of the known names that mean the same as another library's name."""
    words = set(spellings(name))
    groups = [{simple(first), *others.split()} for first, others in NAMES.get(kind, {}).items()]
    same = words.union(*(group for group in groups if group & words))
    return [own for own in known if simple(own) in same]


def meant(argument: str, name: object, known: Collection[str]) -> str:
    """What to write instead of an unknown name, as the beginning of a sentence; an empty text if nothing is found."""
    argument = argument.split("[")[0].split(" ")[-1]
    kind = KINDS.get(argument, argument)
    own = synonyms(kind, name, known)
    if own and isinstance(name, str) and simple(own[0]) == simple(name):
        return f"did you mean {own[0]!r}? "
    if own:
        return f"here it is called {' or '.join(map(repr, own))}; "
    for table, opening in ((ABSENT, "fastnn has none: "), (ELSEWHERE, "")):
        for word in spellings(name):
            if word in table.get(kind, {}):
                return f"{opening}{table[kind][word]}; "
    nearest = near(name, known) if isinstance(name, str) else None
    return f"did you mean {nearest!r}? " if nearest else ""


def object_meant(kind: str, value: object, usual: str) -> str:
    """What to write instead of the name, the class or another library's object for an optimizer or a schedule."""
    names = NAMES[kind]
    own = [first for first, others in names.items() if set(spellings(value)) & set(others.split())]
    absent = [ABSENT[kind][word] for word in spellings(value) if word in ABSENT[kind]]
    return [*own, *absent, usual][0]


def near(word: str, known: Iterable[str]) -> str | None:
    """The known name that a word misspells, or None. Both begin with the same letter and have the same numbers."""
    given = simple(word)
    for name in known:
        own = simple(name)
        if given == own:
            return name
    candidates = [name for name in known if given[:1] == simple(name)[:1]
                  and re.findall(r"\d+", given) == re.findall(r"\d+", simple(name))]
    beginnings = [name for name in candidates if len(given) >= 4 and simple(name).startswith(given)]
    if len(beginnings) == 1:
        return beginnings[0]
    misspelt = [(distance(given, simple(name)), name) for name in candidates]
    most = 1 if len(given) < 8 else 2
    close = sorted((edits, name) for edits, name in misspelt if edits <= most and (
        len(given) > 4 or sorted(given) == sorted(simple(name))))
    return close[0][1] if close else None


def distance(a: str, b: str) -> int:
    """How many letters to add, leave out, change or exchange with a neighbour (Damerau, 1964) to get from a to b."""
    rows = [list(range(len(b) + 1))]
    for i, left in enumerate(a, 1):
        row = [i]
        for j, right in enumerate(b, 1):
            edits = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (left != right))
            if i > 1 and j > 1 and left == b[j - 2] and a[i - 2] == right:
                edits = min(edits, rows[-2][j - 2] + 1)
            row.append(edits)
        rows.append(row)
    return rows[-1][-1]


def explains(function: Callable[P, R]) -> Callable[P, R]:
    """A decorator: an unknown argument of the function is an error that says what the argument is called here.

    Signature, annotations and docstring stay, so editors and type checkers see no difference. (With `**unknown` in the
    function, every argument would look right to them.)
    """
    described: Any = function                   # for type checkers, a Callable has no __code__
    code = described.__code__
    arguments = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]
    known = frozenset(arguments)

    @wraps(function)
    def explained(*args: P.args, **kwargs: P.kwargs) -> R:
        if kwargs and not kwargs.keys() <= known:
            call = type(args[0]).__name__ if described.__name__ == "__init__" else described.__qualname__
            raise TypeError(unknown_argument(call, next(word for word in kwargs if word not in known), arguments))
        return function(*args, **kwargs)

    return explained


def explains_dataclass(kind: type[T]) -> type[T]:
    """`explains` for a dataclass, whose `__init__` Python generates."""
    kind.__init__ = explains(kind.__init__)     # type: ignore[method-assign]
    return kind


def unknown_argument(call: str, word: str, arguments: Iterable[str]) -> str:
    """The error for an argument that a function does not have."""
    arguments = [name for name in arguments if name != "self"]
    words = ARGUMENTS | ARGUMENTS_OF.get(call, {})
    own = sorted((ours for ours in words if word == ours or word in words[ours].split()), key=lambda ours: ours != word)
    here = [ours for ours in own if ours in arguments]
    places = [PLACES[ours] for ours in own if ours in PLACES]
    nearest = near(word, arguments)
    if here:
        advice = "here it is called " + " and ".join(
            f"{ours} ({VALUES[ours]})" if ours in VALUES else ours for ours in here)
    elif word in NO_COUNTERPART:
        advice = NO_COUNTERPART[word]
    elif places:
        advice = f"it belongs to {places[0]}"
    elif nearest:
        advice = f"did you mean {nearest!r}?"
    else:
        advice = f"it takes {', '.join(arguments)}"
    return f"{call}() got an unexpected keyword argument {word!r}; {advice}"
