"""PyTorch comes in and goes out: the same outputs, the same bits of parameters, and refusals that name the module."""

import importlib

import pytest
from example_networks import DTYPES, X, assert_same_network, error, network_of, networks
from hypothesis import given, settings

import fastnn
from fastnn.activations import ACTIVATIONS
from fastnn.interchange import from_onnx, from_torch, to_torch

torch = pytest.importorskip("torch", reason="NOT TESTED: torch is not installed")
nn, prune = torch.nn, importlib.import_module("torch.nn.utils.prune")
pytestmark = pytest.mark.any_isa
BOUNDS = {"float32": 5e-6, "float64": 1e-13}


def outputs(module, inputs):
    with torch.no_grad():
        return module.eval()(torch.from_numpy(inputs)).numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "exp"])
def test_pytorch_computes_what_the_network_computes(activation, dtype):
    network = network_of(activation, dtype)
    module, inputs = to_torch(network), X.astype(dtype)
    bound = 1e-8 if (activation, dtype) == ("softplus", "float64") else BOUNDS[dtype]   # PyTorch's is z above 20
    assert error(outputs(module, inputs), network.predict(inputs)) < bound
    assert_same_network(from_torch(module), network)


@settings(max_examples=40)
@given(networks())
def test_every_network_comes_back(network):
    if network.activations[-1] != "exp":
        again = from_torch(to_torch(network), seed=network.seed)
        assert_same_network(again, network)
        assert repr(again) == repr(network)


def test_a_network_and_its_module_share_no_memory_and_no_random_numbers():
    network = network_of("relu", "float32")
    torch.manual_seed(0)
    before, parameters = torch.get_rng_state(), network.get_parameters()
    module = to_torch(network)
    assert (torch.get_rng_state() == before).all()
    with torch.no_grad():
        for parameter in module.parameters():
            assert parameter.requires_grad and parameter.is_contiguous()
            parameter.zero_()
    assert (network.get_parameters() == parameters).all()
    from_torch(module).weights[0][...] = 1
    assert not module[0].weight.any()


def test_what_a_sequential_may_hold():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Flatten(), nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.25)), nn.Linear(8, 7, bias=False),
        nn.Sequential(nn.Linear(7, 6), nn.Sequential(nn.GELU())), nn.Identity(), nn.Dropout(0.0), nn.Linear(6, 3),
        nn.Softmax(dim=1))
    network = from_torch(module, loss="focal", seed=9)
    assert network.activations == ("tanh", "identity", "gelu", "softmax")
    assert (network.dropout, network.loss, network.seed) == ((0.25, 0, 0), "focal", 9)
    assert not network.biases[1].any()
    assert error(network.predict(X), outputs(module, X.astype("f"))) < 1e-6


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


LINEAR = nn.Linear(4, 4)


@pytest.mark.parametrize("sentence, modules", [
    (r"layer 1 is BatchNorm2d\(4,.*\), but only Linear, BatchNorm1d, Flatten", [LINEAR, nn.BatchNorm2d(4)]),
    (r"layer 1 is BatchNorm1d\(4,.*\), which keeps no running mean .* depends on the batch; .*track_running_stats=True",
     [LINEAR, nn.BatchNorm1d(4, track_running_stats=False)]),
    ("layer 2 scales or shifts what the activation 'relu' gives", [LINEAR, nn.ReLU(), nn.BatchNorm1d(4)]),
    (r"layer 1 has constants of shape \(3,\), but one number for each of 4", [LINEAR, nn.BatchNorm1d(3)]),
    ("there is no layer of weights", [nn.BatchNorm1d(3)]),
    ("layer 1 has dtype torch.bfloat16, .*module.float", [LINEAR, nn.BatchNorm1d(4).bfloat16()]),
    ("layer 0 lies on the device 'meta', .* load_state_dict", [nn.Linear(4, 4, device="meta")]),
    ("layer 1 lies on the device 'meta'", [LINEAR, nn.BatchNorm1d(4, device="meta")]),
    ("(?s)layer 1 is OptimizedModule.*pass module._orig_mod", [LINEAR, torch.compile(nn.ReLU())]),
    ("(?s)layer 0 is DataParallel.*pass module.module", [nn.DataParallel(LINEAR)]),
    ("layer 0 is LazyLinear.*call the whole model once", [nn.LazyLinear(4)]),
    ("layer 1 is LazyBatchNorm1d.*call the whole model once", [LINEAR, nn.LazyBatchNorm1d()]),
    (r"(?s)layer 0 is ParametrizedLinear.*remove_parametrizations\(layer, 'weight'\)",
     [nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))]),
    (r"(?s)layer 0 is ParametrizedLinear.*remove_parametrizations",
     [nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))]),
    (r"layer 0 is Linear.* with hooks, but .*torch.nn.utils.remove_spectral_norm\(layer\)",
     [nn.utils.spectral_norm(nn.Linear(4, 4))]),
    (r"layer 0 is Linear.* with hooks, but .*prune.remove\(layer, 'weight'\)",
     [prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5)]),
    ("layer 1 is None, but only", [LINEAR, None]),
    (r"layer 1\.0 is LayerNorm", [LINEAR, nn.Sequential(nn.LayerNorm(4))]),
    (r"layer 0 is Doubled\(", [Doubled(4, 4)]),
    (r"layer 1 is LogSoftmax\(dim=-1\), but only", [LINEAR, nn.LogSoftmax(-1)]),
    (r"layer 1 is LeakyReLU\(negative_slope=0.2\), whose negative_slope is 0.2, but fastnn's leaky_relu is that of "
     r"negative_slope=0.01", [LINEAR, nn.LeakyReLU(0.2)]),
    ("whose alpha is 0.5", [LINEAR, nn.ELU(0.5)]), ("whose beta is 2", [LINEAR, nn.Softplus(2)]),
    ("whose threshold is 5", [LINEAR, nn.Softplus(threshold=5)]),
    ("whose approximate is 'tanh'", [LINEAR, nn.GELU("tanh")]),
    ("whose dim is 0", [LINEAR, nn.Softmax(0)]), ("whose dim is None", [LINEAR, nn.Softmax()]),
    (r"layer 0 is Flatten\(start_dim=0", [nn.Flatten(0), LINEAR]),
    (r"layer 2 is the activation 'relu', but the layer before it has its own", [LINEAR, nn.Tanh(), nn.ReLU()]),
    (r"layer 2 is the activation 'tanh', but the layer before it .* dropout",
     [LINEAR, nn.Dropout(), nn.Tanh(), LINEAR]),
    ("layer 0 is the activation 'relu', but there is no layer", [nn.ReLU(), LINEAR]),
    ("layer 0 drops out inputs", [nn.Dropout(), LINEAR]), ("outputs have dropout 0.5", [LINEAR, nn.Dropout()]),
    ("layer 2 drops out what has dropout", [LINEAR, nn.Dropout(), nn.Dropout(), LINEAR]),
    ("layer 2 follows 'softmax', which only the output", [LINEAR, nn.Softmax(-1), LINEAR]),
    ("layer 1 takes 3 inputs, but the layer before it has 4", [LINEAR, nn.Linear(3, 4)]),
    ("layer 0 has dtype torch.float16", [nn.Linear(4, 4).half()]),
    ("layer 1 has dtype float64, but the layers before it have float32", [LINEAR, nn.Linear(4, 4).double()]),
    ("there is no layer of weights", [])])
def test_other_modules_are_refused_by_name(sentence, modules):
    with pytest.raises(ValueError, match=sentence):
        from_torch(nn.Sequential(*modules))


@pytest.mark.parametrize("sentence, module", [
    (r"module is a Linear, but must be a torch.nn.Sequential; torch.nn.Sequential\(\*layers\) makes one", LINEAR),
    ("module is a OptimizedModule, .* pass module._orig_mod", torch.compile(nn.Sequential(LINEAR))),
    ("module is a DataParallel, .* pass module.module", nn.DataParallel(nn.Sequential(LINEAR))),
    ("module is a AveragedModel, .* pass module.module", torch.optim.swa_utils.AveragedModel(nn.Sequential(LINEAR))),
    ("torch.fx traced it: pass the module that was traced",
     torch.fx.symbolic_trace(nn.Sequential(LINEAR))),
    ("module is a OrderedDict, .* load a state_dict into a Sequential", LINEAR.state_dict()),
    ("module is a int, but must be a torch.nn.Sequential", 3)])
def test_what_is_no_sequential_is_refused_with_the_cure(sentence, module):
    with pytest.raises(TypeError, match=sentence):
        from_torch(module)


@pytest.mark.filterwarnings("ignore")       # what is tested is deprecated
def test_what_pytorch_is_about_to_drop_is_refused_with_the_cure():
    [quantized] = torch.ao.quantization.quantize_dynamic(nn.Sequential(LINEAR))
    for sentence, module in (("remove_weight_norm", nn.utils.weight_norm(nn.Linear(4, 4))),
                             ("before it was quantized", quantized)):
        with pytest.raises(ValueError, match=rf"layer 0 is .*Linear.*{sentence}"):
            from_torch(nn.Sequential(module))


def test_the_cures_cure():
    """What the sentences say makes a module that is read, and computes the same."""
    torch.manual_seed(0)
    made = [prune.l1_unstructured(nn.Linear(5, 4), "weight", 0.5),
            nn.utils.spectral_norm(nn.Linear(5, 4)).eval(), nn.utils.parametrizations.weight_norm(nn.Linear(5, 4))]
    expected = [outputs(module, X.astype("f")) for module in made]
    prune.remove(made[0], "weight")
    nn.utils.remove_spectral_norm(made[1])
    nn.utils.parametrize.remove_parametrizations(made[2], "weight")
    for module, values in zip(made, expected, strict=True):
        assert error(from_torch(nn.Sequential(module)).predict(X), values) < 1e-6
    compiled = torch.compile(nn.Sequential(made[0]))
    assert from_torch(compiled._orig_mod).layer_sizes == (5, 4)
    lazy = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d())
    lazy(torch.from_numpy(X.astype("f")))
    assert error(from_torch(lazy).predict(X), outputs(lazy, X.astype("f"))) < 1e-6


def test_parameters_that_are_no_array_are_refused():
    module = nn.Sequential(nn.Linear(2, 2))
    module[0].weight = nn.Parameter(torch.eye(2).to_sparse())
    with pytest.raises(ValueError, match="layer 0 has parameters that NumPy cannot hold: .*[Ss]parse"):
        from_torch(module)


@pytest.mark.parametrize("replaced, sentence", [
    (lambda module: module, r"(?s)module is Sequential\(.*with a forward of its own, .*del module.forward"),
    (lambda module: module[0], r"layer 0 is Linear\(.* with a forward of its own"),
    (lambda module: module[1], r"layer 1 is ReLU\(\) with a forward of its own")])
def test_a_forward_that_was_replaced_is_noticed(replaced, sentence):
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    replaced(module).forward = lambda x: 2 * x
    with pytest.raises(ValueError, match=sentence):
        from_torch(module)
    del replaced(module).forward
    assert from_torch(module).activations == ("relu",)


NORMAL = nn.BatchNorm1d


@pytest.mark.parametrize("layers", [
    lambda: [nn.Linear(5, 8), NORMAL(8), nn.ReLU(), nn.Linear(8, 3)],
    lambda: [nn.Linear(5, 8), nn.ReLU(), NORMAL(8), nn.Dropout(0.2), nn.Linear(8, 3)],
    lambda: [NORMAL(5), nn.Linear(5, 8, bias=False), NORMAL(8, eps=0.1), NORMAL(8), nn.Tanh(), nn.Linear(8, 3)],
    lambda: [nn.Linear(5, 3), NORMAL(3, affine=False), nn.Softmax(1)],
    lambda: [nn.Linear(5, 3), NORMAL(3)],
    lambda: [nn.Sequential(nn.Linear(5, 8), nn.GELU()), nn.Sequential(NORMAL(8), nn.AlphaDropout(), nn.Linear(8, 3))],
    lambda: [nn.Linear(5, 8), nn.SyncBatchNorm(8), nn.ELU(), nn.Linear(8, 3)],
], ids=["before the activation", "after it", "before all", "not affine", "last", "nested", "of several ranks"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_batch_normalization_becomes_part_of_a_layer(layers, dtype):
    torch.manual_seed(0)
    module = nn.Sequential(*layers()).to(getattr(torch, dtype))
    for part in module.modules():
        if hasattr(part, "running_mean"):       # as training leaves it
            part.running_mean.normal_()
            part.running_var.uniform_(0.1, 4)
            if part.weight is not None:
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)
    network = from_torch(module)                # which is in training mode: what is read is evaluation mode
    assert network.dtype == dtype and module.training
    assert error(network.predict(X), outputs(module, X.astype(dtype))) < (1e-5 if dtype == "float32" else 1e-13)


def test_batch_normalization_of_inputs_far_from_0_is_float64():
    """Seconds since 1970, for which float32 has no digits."""
    module = nn.Sequential(NORMAL(5), nn.Linear(5, 3))
    module[0].running_mean.fill_(1.7e9)
    module[0].running_var.fill_(100.0)
    network, inputs = from_torch(module), 1.7e9 + 10 * X
    assert network.dtype == "float64"
    assert error(network.predict(inputs), outputs(module.double(), inputs)) < 1e-6


def test_what_pytorch_has_not():
    with pytest.raises(ValueError, match="the output is 'exp', but PyTorch has no module for it"):
        to_torch(fastnn.Network([2, 1], output="exp"))


ONNX_ACTIVATIONS = [nn.ReLU(), nn.LeakyReLU(), nn.ELU(), nn.SELU(), nn.Softplus(), nn.SiLU(), nn.GELU(), nn.Tanh(),
                    nn.Sigmoid()]


def exported(module, folder, dynamo, opset, dtype=torch.float32):
    """An ONNX file of a module that takes five columns, as PyTorch's new exporter (dynamo) or its old one writes it.

    The new one says what it does, the old one that it is deprecated.
    """
    pytest.importorskip("onnx", reason="NOT TESTED: onnx is not installed")
    if dynamo:
        pytest.importorskip("onnxscript", reason="NOT TESTED: onnxscript is not installed")
    torch.onnx.export(module, (torch.zeros(2, 5, dtype=dtype),), str(folder / "model.onnx"), dynamo=dynamo,
                      opset_version=opset, verbose=False)
    return folder / "model.onnx"


@pytest.mark.parametrize("dynamo, opset, dtype", [
    (False, 13, "float32"), (False, 17, "float64"), (False, 20, "float32"), (True, 18, "float32"),
    (True, 20, "float64")])
@pytest.mark.filterwarnings("ignore")
def test_what_pytorch_exports_to_onnx_is_read(dynamo, opset, dtype, tmp_path):
    """All activations in one module; the new exporter writes the weights to a file of their own."""
    torch.manual_seed(0)
    pieces = [part for activation in ONNX_ACTIVATIONS for part in (nn.Linear(40, 40), activation)]
    module = nn.Sequential(nn.Linear(5, 40), *pieces, nn.Linear(40, 3, bias=False), nn.Softmax(-1)).eval()
    module = module.to(getattr(torch, dtype))
    path = exported(module, tmp_path, dynamo, opset, getattr(torch, dtype))
    assert (tmp_path / "model.onnx.data").exists() == dynamo
    assert_same_network(from_onnx(path), from_torch(module))


@pytest.mark.parametrize("dynamo, opset", [(False, 9), (False, 11), (False, 17), (True, 18)])
@pytest.mark.filterwarnings("ignore")
def test_equal_biases_and_batch_normalization_exported_by_pytorch_are_read(dynamo, opset, tmp_path):
    """The old exporter writes each of several equal tensors once, and Identity nodes for the others."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(5), nn.Linear(5, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Dropout(),
                           nn.Linear(8, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8),
                           nn.Softmax(1)).eval()
    with torch.no_grad():
        for part in module:
            if isinstance(part, nn.Linear):
                part.bias.fill_(0.25)
            elif isinstance(part, nn.BatchNorm1d) and part is not module[1]:
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
    network = from_onnx(exported(module, tmp_path, dynamo, opset))
    assert network.activations == ("relu", "gelu", "tanh", "softmax")
    assert error(network.predict(X), outputs(module, X.astype("f"))) < 2e-6


@pytest.mark.parametrize("sentence, module, dynamo", [
    (r"Clip\(0, 6\)", nn.ReLU6(), False), (r"PRelu\(0.25\)", nn.PReLU(), False),
    (r"Gelu\(approximate='tanh'\)", nn.GELU("tanh"), False), (r"LeakyRelu\(alpha=0.2\)", nn.LeakyReLU(0.2), False),
    ("scales or shifts what .*'softplus'", nn.Softplus(2), False),
    (r"Softplus\(\), Greater\(5\), Where\(\), which .* where softplus", nn.Softplus(threshold=5), True)], ids=repr)
@pytest.mark.filterwarnings("ignore")
def test_what_pytorch_exports_and_fastnn_has_not_is_refused(sentence, module, dynamo, tmp_path):
    path = exported(nn.Sequential(nn.Linear(5, 4), module), tmp_path, dynamo, 20)
    with pytest.raises(ValueError, match=sentence):
        from_onnx(path)


def test_a_wrong_constant_would_be_noticed():
    network = network_of("leaky_relu", "float32")
    module = to_torch(network)
    module[1].negative_slope = 0.0101
    assert error(outputs(module, X.astype("f")), network.predict(X)) > 1e-5


@pytest.mark.parametrize("hooked, words", [
    (lambda module: module[0], r"layer 0 is Linear.* with hooks, but only"),
    (lambda module: module, r"module is Sequential.* with hooks, but only")])
def test_hooks_are_refused(hooked, words):
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    hooked(module).register_forward_hook(lambda module, inputs, outputs: 3 * outputs)
    with pytest.raises(ValueError, match=f"(?s){words}"):
        from_torch(module)


@pytest.mark.parametrize("register", ["register_module_forward_hook", "register_module_forward_pre_hook"])
def test_hooks_of_all_modules_are_refused(register):
    handle = getattr(torch.nn.modules.module, register)(lambda module, given, *_: None)
    try:
        with pytest.raises(ValueError, match=r"module is Sequential\( \(0\): Linear.* with hooks, but .*handles"):
            from_torch(torch.nn.Sequential(torch.nn.Linear(2, 2)))
    finally:
        handle.remove()
    from_torch(torch.nn.Sequential(torch.nn.Linear(2, 2)))


def test_a_call_of_its_own_is_refused():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    module[0]._call_impl = torch.zeros_like
    with pytest.raises(ValueError, match=r"layer 0 is Linear.* with a _call_impl of its own, but .*del module"):
        from_torch(module)
