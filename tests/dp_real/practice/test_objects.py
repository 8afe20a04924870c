"""A run takes Python objects: a module, a generator, tensors; what is hard."""

import gc
import platform
import random
import re
import sys
import threading
import tomllib
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor, nn

from dp_base.errors import DivergedError, InputError, MissingError
from dp_real import Practice, Run, give, run
from dp_real.config import parse_config
from dp_real.data.examples import Examples, RealData, Task
from dp_real.data.sets.real_rows import with_few
from dp_real.guidance.entropy import OBJECTIVES
from dp_real.learners import LEARNERS, MLPConfig
from dp_real.practice.objects import given_object, real_data, with_objects
from dp_real.runs.branch import branch
from dp_real.runs.files import RunFiles
from dp_real.runtime.object_digest import object_digest as digest
from dp_real.text.codes import texts_of
from tests.dp_real.conftest import CONTEXTS, changed
from tests.dp_real.generators.tiny_pipelines import draw as draw_with
from tests.dp_real.generators.tiny_pipelines import random_pipeline
from tests.dp_real.runs.folders import dying
from tests.refusals import refusal
from tests.source import ROOT

CENTRES = torch.tensor([[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]])
PLAN = tomllib.loads("""
name = "mine"
threads = 1
training = { steps = 60, batch_size = 16, learning_rate = 0.01 }
practice = { initial = 30, increment = 15, additions = 2, patience = 1, evaluate_every = 5 }
guidance = { candidates = 3 }
""")


def plan(text):
    """PLAN with other sections."""
    return PLAN | tomllib.loads(text)


OF_TEXTS = 'data = { source = "stand-in-text" }\npool = { storage = "text" }\n'


def draw(labels, generator):
    return CENTRES[labels] + 0.4 * torch.randn(len(labels), 2, generator=generator)


def cloud(n, seed):
    y = torch.arange(n) % 3
    return draw(y, torch.Generator().manual_seed(seed)), y


@pytest.fixture
def objects():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3))
    return {"learner": module, "generator": draw, "data": {"validation": cloud(90, 1), "test": cloud(300, 2)}}


@pytest.fixture
def mine(objects, tmp_path):
    """Runs PLAN with the objects, or with others in their places, in a folder of this name."""
    return lambda name="run", **others: run(folder=tmp_path / name, **{"config": PLAN} | objects | others)


GUIDE = (ROOT / "docs/guide/extend.md").read_text()
(SHOWN,) = re.findall(r"```python\n(def margin.*?)```", GUIDE, re.S)
exec(SHOWN)  # the function of the page
margin = globals()["margin"]


def test_a_notebook_trains_its_own_module_on_its_own_generator(mine, objects, tmp_path):
    result = mine()
    assert result["test_accuracy"] > 0.8
    assert (result["pool_size"], result["samples_generated"]) == (60, 30 + 2 * 3 * 15)
    assert "`dp_real.run`, with the same objects, repeats" in (tmp_path / "run/learner/README.md").read_text()
    with with_objects({}, data=objects["data"]):
        assert [each["pool_size"] for each in branch(tmp_path / "run", workers=2)] == [30, 45, 60]


def test_what_is_hard_is_a_function(mine, tmp_path):
    mine(objective=margin)
    mine("entropy")
    by_margin, by_entropy = (Run(tmp_path / name).pool.x for name in ("run", "entropy"))
    assert by_margin[:30].equal(by_entropy[:30])
    assert not by_margin[30:45].equal(by_entropy[30:45])


def test_objects_are_part_of_what_a_run_is(mine, objects, tmp_path, patch):
    objects |= {"objective": margin}
    whole = mine("whole")
    with dying(40):
        mine()
    patch("dp_real.practice.objects._weakly", {})
    assert Run(tmp_path / "run").files.resume == f"dp_real.run(…, '{tmp_path}/run', resume=True)"
    config = parse_config(Run(tmp_path / "run").config.model_dump())
    for place, name in enumerate(names := ["data", "objective", "generator", "learner"]):
        with refusal(rf"{name}: this run was given a Python object.* resume=True, {name}=", MissingError):
            run(config, tmp_path / "run", resume=True, **{key: objects[key] for key in names[:place]})
    with refusal(r"of another configuration: guidance\.objective .*differs"):
        mine(objective=lambda logits: -margin(logits))
    objects |= {"generator": lambda labels, g: draw(labels, g)}
    with refusal(r"the generator that was given, .* changed since .* began"):
        mine(resume=True)
    again = mine(resume=True, accept_changes=True)
    assert "generator that was given" in again["accepted_changes"][0]
    assert again["test_accuracy"] == whole["test_accuracy"]


def test_a_resume_tells_other_versions_and_the_name_of_a_run_says_nothing(mine, tmp_path, patch):
    with dying(40):
        mine()
    now = {"torch": "9.9", "python": platform.python_version(), "number of processes": 2}
    patch("dp_real.runs.folder.versions", lambda: now)
    assert mine(resume=True)["accepted_changes"] == [
        "number of processes: 1 until step 40, then 2",
        f"torch: {metadata.version('torch')} until step 40, then 9.9",
    ]
    (tmp_path / "own").mkdir()
    (tmp_path / "own/config.toml").write_text('name = "given-names"\n[learner]\nkind = "mlp"\n')
    assert RunFiles(tmp_path / "own").resume.startswith("dp real resume")


class Counting:
    calls = 0

    def sample(self, labels, seeds, guidance):
        self.calls += 1
        rows = [draw(labels[[row]], torch.Generator().manual_seed(int(seed) >> 1)) for row, seed in enumerate(seeds)]
        labels[:], seeds[:] = 0, 0  # they are its own
        return torch.cat(rows)


def test_what_a_generator_does_to_itself_and_to_what_it_gets_changes_nothing(mine, objects, tmp_path):
    """It may count its calls, write to its labels and seeds, and give one tensor again and again."""
    buffer, counting = torch.empty(1, 2), Counting()
    whole = mine()
    for name, generator in {"buffer": lambda labels, g: buffer.copy_(draw(labels, g)), "counting": counting}.items():
        objects["generator"] = generator
        with dying(40):
            mine(name)
        result = mine(name, resume=True)
        assert (result["test_accuracy"], result["accepted_changes"]) == (whole["test_accuracy"], [])
        assert Run(tmp_path / name).pool.x[:].equal(Run(tmp_path / "run").pool.x[:])
    assert counting.calls


def test_objects_are_let_go_when_a_run_ends(mine, objects, tmp_path):
    mine()
    assert Run(tmp_path / "run").learner()  # while the caller has its module
    alive = weakref.ref(objects.pop("learner"))
    gc.collect()
    assert alive() is None


def test_an_object_stays_for_its_other_users(tmp_path):
    """Its threads, calls around, and who called `give`. None but these keep it: not a refused Practice, either."""
    keys = {"shape": (2,), "initial": 9, "increment": 3}
    drawer, other = Drawer(), Drawer(other=True)
    with with_objects({}, generator=drawer) as raw, ThreadPoolExecutor(1) as thread:
        assert thread.submit(given_object, raw["generator"]["digest"], "generator").result() is drawer
        key = give(drawer)
        with with_objects({}, generator=Drawer()):  # an equal one
            pass
        drawer.counted = 7
        Practice(drawer, ["a", "b", "c"], tmp_path, **keys)
    assert given_object(key, "generator") is drawer
    assert give(drawer) == key
    with refusal("omega = -1"):
        Practice(other, ["a", "b", "c"], tmp_path, **keys, omega=-1)
    alive = weakref.ref(other)
    del other
    gc.collect()
    assert alive() is None


def test_a_cell_that_runs_again_gives_its_function_again(mine):
    """It is another object of the same code, and takes the place of the first."""
    for again in ("once", "twice"):
        asked = []

        def hard(logits, asked=asked):
            asked.append(len(logits))
            return margin(logits)

        mine(again, objective=hard)
        assert asked


X, Y = cloud(90, 1)
TASK = Task((2,), ("a", "b", "c"))


class Drawer:
    def __init__(self, **values):
        vars(self).update(values)

    def sample(self, labels, seeds, guidance):
        return draw(labels, None)


class Keeping(nn.Linear):
    def __init__(self, **buffers):
        super().__init__(2, 3)
        for name, value in buffers.items():
            self.register_buffer(name, value)


def held(x, y, **sets):
    return {"validation": (x, y), **sets}


IMAGES = 2 * torch.rand(90, 3, 4, 4) - 1


class Extra(Keeping):
    def get_extra_state(self):
        return {}


@pytest.mark.parametrize(
    ("place", "given", "message"),
    [
        ("learner", Keeping(wide=torch.ones(1).expand(3)), "learner: wide cannot be saved: should be a tensor of real"),
        ("learner", Keeping(phase=torch.ones(3, dtype=torch.complex64)), "learner: phase cannot be saved"),
        ("learner", Extra(), "learner: _extra_state cannot be saved"),
        ("learner", nn.Linear(2, 4), r"learner gives \[2, 4\] for samples \[2, 2\]: should be logits \[2, 3\]"),
        ("learner", nn.Linear(3, 3), r"learner cannot process samples \[2, 2\]: .*shapes cannot be multiplied"),
        ("learner", lambda task: torch.jit.script(nn.Linear(2, 3)), "RecursiveScriptModule: .* before torch.jit"),
        ("learner", nn.Identity(), "learner is a Identity: should be a torch module with weights"),
        ("learner", "mlp", "learner is a str: should be a torch module"),
        ("data", held(IMAGES, Y, test=((IMAGES + 1) / 2, Y)), r"data: test: images are in \[0, 1\]"),
        ("data", 3, "data is of type int: should be RealData, or"),
        ("data", {"test": (X, Y)}, "of arrays, at least the first"),
        ("data", held(X, Y[:1]), r"data: validation gave shape \[90, 2\] for 1 labels"),
        ("data", held(X, Y / 2), r"data: validation has labels torch.float32 \[90\]: should be whole"),
        ("data", held(X, Y - 1), "should be whole numbers from 0"),
        ("data", held(X, Y, tests=(X, Y)), "a set 'tests': should be validation, test or train"),
        ("data", held(X, 2 * Y), "no example of class 1, and labels are 0 to 4"),
        ("data", held(X / 0, Y), "data: validation has numbers that are not finite"),
        ("data", held(np.ma.masked_array(X, X > 0), Y), "data: validation gave masked values"),
        ("data", held(X, np.ma.masked_array(Y, Y > 1)), "data: validation has masked labels"),
        ("data", RealData(TASK, None, Examples(X / 0, Y), Examples(X, Y)), "validation has numbers that are not fin"),
        ("generator", lambda labels, g: labels.numpy(), r"gave a ndarray for one label: should be a tensor"),
        ("generator", Drawer(sample=lambda labels, *_: torch.zeros(len(labels), 3)), r"should be \[\d+, 2\]"),
        ("config", PLAN | {"learner": {"kind": "mlp"}}, "learner is given as an object, and config has"),
        ("config", "digits", "config = 'digits': should be a dictionary"),
        ("objective", "margin", "objective = 'margin': should be a function; a name is for guidance.objective"),
        ("objective", Tensor.mean, r"gave \[\] for 2 rows of logits: should be one number a row"),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_what_does_not_fit_is_told(mine, place, given, message):
    with refusal(message) as told:
        mine(**{place: given})
    assert "raised" not in str(told.value)


def test_an_objective_of_no_numbers_is_told_before_the_training(mine):
    with refusal("^the objective's numbers are not finite", DivergedError):
        mine(objective=lambda logits: logits[:, 0] / 0)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ZeroDivisionError("of\ntwo"),
            r"^the generator raised ZeroDivisionError: of two \(.*test_objects.py, line \d+\)$",
        ),
        (MissingError("no weights"), "^no weights$"),
    ],
)
def test_what_a_given_generator_raises_is_a_line(mine, error, message):
    def breaks(labels, seeds, guidance):
        raise error

    with pytest.raises((InputError, MissingError), match=message):
        mine(generator=Drawer(sample=breaks))


@pytest.mark.parametrize(
    ("real", "drawn", "message"),
    [
        ((IMAGES + 1) / 2, IMAGES, r"real images are in \[0, 1\], the others in \[-1, 1\]: should be"),
        (IMAGES, (IMAGES + 1) / 2, r"the generator's images are in \[0, 1\]"),
        (IMAGES.movedim(1, 3), IMAGES, r"shape \[4, 4, 3\]: images should be \[channels, .*x.permute\(0, 3, 1, 2\)"),
    ],
)
def test_images_of_another_range_or_order_are_refused(real, drawn, message, tmp_path):
    learner = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    with refusal(message):
        run(PLAN, tmp_path, learner=learner, generator=lambda labels, g: drawn[labels], data=held(real, Y))


def test_a_generator_may_change_the_current_folder(objects, tmp_path, monkeypatch):
    def moving(labels, generator):
        monkeypatch.chdir(tmp_path)
        return draw(labels, generator)

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run(PLAN, "run", **objects | {"generator": moving})
    assert Run(tmp_path / "here/run").complete


def test_tied_weights_are_kept(mine, tmp_path):
    module = nn.Sequential(*[nn.Linear(2, 2, bias=False)] * 2, nn.Linear(2, 3))
    mine(learner=module)
    assert Run(tmp_path / "run").learner().logits(X).shape == (90, 3)


@pytest.mark.parametrize(
    "generator", [Drawer(sample=lambda labels, *_: ["a text"] * len(labels)), lambda labels, g: ["a text"]]
)
def test_generators_of_texts(generator, tmp_path):
    run(plan(f"{OF_TEXTS}learner = {{ kind = 'bag-of-words' }}"), tmp_path, generator=generator)
    assert set(texts_of(Run(tmp_path).pool.x[:])) == {"a text"}


class Reader(nn.Module):
    """Of texts themselves."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(1, 4)

    def forward(self, texts):
        return self.last(torch.tensor([[float(len(text.split()))] for text in texts]))


@pytest.mark.parametrize("learner", [nn.Sequential(nn.EmbeddingBag(0x110000, 4)), Reader()])
def test_a_module_may_read_texts_or_their_codes(learner, tmp_path):
    own = plan(f"{OF_TEXTS}generator = {{ kind = 'char-lm', training = 'none' }}")
    result = run(own, tmp_path, learner=learner)
    assert result["pool_size"] == 60


class Answers(NamedTuple):
    logits: torch.Tensor


class Told(nn.Linear):
    """It gives its logits in a way of its own."""

    def __init__(self, tell):
        super().__init__(2, 3)
        self.tell = tell

    def forward(self, x):
        return self.tell(super().forward(x))


def lazy(task):
    return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 3))


def test_any_module_is_taken_and_the_seed_says_its_weights(mine, objects):
    """What a program has drawn, or switched, has no say."""
    table = np.stack([Y.numpy(), Y.numpy()], 1)
    table.flags.writeable = False  # as pandas gives it
    objects["data"]["validation"] = X.numpy(), table[:, 0]
    for number, learner in enumerate((Told(Answers), Told(lambda logits: {"logits": logits}), lazy)):
        objects["learner"] = learner
        results = []
        for name, context in CONTEXTS.items():
            torch.randn(3)
            with context():
                results.append(mine(f"{name}-{number}")["val_accuracy"])
                assert torch.get_default_dtype() == (torch.float64 if name == "float64" else torch.float32)
        assert len({*results}) == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"learner": Told(lambda logits: logits + 1e-3 * torch.randn(3))},
            "learner gives other logits for the same samples",
        ),
        (
            {"generator": lambda labels, g: CENTRES[labels] + torch.rand(1, 2)},
            "draws another sample for the same label",
        ),
        ({"generator": lambda labels, g: torch.ones(1, 2)}, "30 samples differ by class alone"),
        ({"generator": lambda labels, g: CENTRES[labels]}, "30 samples differ by class alone"),
        ({}, ""),
    ],
)
def test_what_no_resume_repeats_is_said_once(mine, given, told, caplog):
    mine(**given)
    said = [each for each in caplog.messages if "at chance" not in each]
    assert [told in each for each in said] == [True] * bool(told)


def test_definitions_of_given_data_are_kept_for_prompts(objects):
    task = Task((2,), ("a", "b", "c"), ("a kind of a", "a kind of b", "a kind of c"))
    objects["data"] = RealData(task, *[Examples(X, Y)] * 3)
    with with_objects(PLAN, **objects) as raw:
        assert parse_config(raw).task == task


def test_kinds_that_register_late_are_known(tmp_path):
    """After the configuration was imported, as in a notebook's next cell."""

    class LateConfig(MLPConfig):
        """A perceptron that came late."""

        kind: Any

    LEARNERS.register("late", LateConfig)
    OBJECTIVES.register("negative", lambda logits: -logits.logsumexp(-1))
    config = parse_config(
        plan("""
data = { source = "digits" }
generator = { kind = "denoiser" }
learner = { kind = "late" }
guidance = { objective = "negative" }
""")
    )
    assert isinstance(config.learner, LateConfig)
    with refusal("there is no 'nothing'"):
        run(changed(config, "guidance.objective=nothing"), tmp_path)


FOREST = RandomForestClassifier(5, random_state=0)
WEIGHTS = [{"weight": torch.ones(2, 2) * scale, "bias": torch.zeros(2)} for scale in (1, 2)]


def known(source, **outside):
    outside |= {"__name__": "__main__", "nn": nn, "torch": torch, "partial": partial, "Drawer": Drawer}
    exec(source, outside)
    return digest(outside["f"])


@pytest.mark.parametrize(
    ("source", "one", "other"),
    [
        ("f = Drawer(a=k)", {"b", "c"}, {"b"}),
        ("f = Drawer(a=k)", np.arange(3), np.arange(3) + 1),
        ("f = Drawer(a=k).sample", 1, 2),
        ("f = partial(pow, k)", 1, 2),
        ("f = [lambda x: x + 1, lambda x: x + 2][k]", 0, 1),
        ("f = k", *(RealData(TASK, None, Examples(X, Y), Examples(X, Y), {name: None}) for name in "xy")),
        ("def f(x): return k", X, X + 1),
        ("def f(x): return [k for _ in x]", [1], [2]),
        ("def f(x): return k(x)", lambda x: x + 1, lambda x: x + 2),
        ("f = lambda task: nn.Sequential(k)", nn.ReLU(), nn.Tanh()),
        ("class f:\n def sample(self): return k", {"a": 1}, {"a": 2}),
        ("class S:\n __slots__ = ('a',)\nf = S(); f.a = k", 1, 2),
        ("class M(nn.Module): pass\nf = M(); f.act = k", torch.relu, torch.tanh),
        ("torch.manual_seed(0); f = nn.Sequential(nn.MultiheadAttention(4, k))", 1, 2),
        ("def f(x): return k.predict(x)", FOREST.fit(X, Y), clone(FOREST).fit(X, 2 - Y)),
        ("def f(x): return k", np.random.default_rng(0), np.random.default_rng(1)),
        ("f = k", torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)),
        ("f = lambda x: k", random.Random(0), random.Random(1)),
        ("@torch.no_grad()\ndef f(x): return k", 1, 2),
        ("f = nn.Sequential(nn.Linear(2, 2), nn.Identity()).requires_grad_(False)\nf[0].load_state_dict(k)", *WEIGHTS),
    ],
)
def test_what_an_object_refers_to_is_part_of_it(source, one, other, patch):
    """In code of a prompt, too, and of a program that a library starts, such as `python -m cProfile`."""
    patch(sys.modules["__main__"], "__file__", pytest.__file__, raising=False)
    assert known(source, k=one) == known(source, k=one) != known(source, k=other)
    assert known("def f(x): return [x]") == known("\n\ndef f(x):\n  # as it is\n  return [x]")
    assert known("def f(x): return x.sin()") != known("def f(x): return x.cos()")


@pytest.mark.parametrize("line", ["import herd.sheep", "from herd import sheep", "from .sheep import wool"])
def test_what_a_function_imports_is_part_of_it(line, tmp_path, monkeypatch):
    (tmp_path / "herd").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    seen = set()
    for code in ("wool = 1", "wool = 2"):
        (tmp_path / "herd/sheep.py").write_text(code)
        seen.add(known(f"def f(x):\n def inner():\n  {line}\n return inner()", __package__="herd"))
    assert len(seen) == 2


class Engine:
    def __getstate__(self):
        raise TypeError("of another language")


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (Engine(), "test_objects.Engine cannot be pickled: a resume does not see"),
        ((each for each in [1]), "builtins.generator cannot be pickled"),
        (threading.Lock(), ""),
        (sys.stdin, ""),
        (nn.LazyLinear(2), ""),
    ],
)
def test_values_that_cannot_be_compared_are_told_once(held, told, caplog):
    for _ in range(2):
        digest(lambda: held)
    assert [told in message for message in caplog.messages] == [True] * bool(told)


def test_a_test_set_that_is_the_validation_set_loses_the_same_examples():
    data = real_data(RealData(TASK, None, Examples(X, Y), Examples(X.clone(), Y.clone())))
    fewer = with_few(data, 2, halved=False, split=0)
    assert len(fewer.test.y) == len(fewer.validation.y) == len(Y) - 6


def test_a_pipeline_is_its_weights_and_settings_whatever_it_has_drawn():
    pipe = random_pipeline()
    known = digest(pipe)
    draw_with(pipe)
    assert digest(pipe) == known
    pipe.scheduler = DDIMScheduler(num_train_timesteps=77)
    assert (other := digest(pipe)) != known
    next(pipe.unet.parameters()).data.add_(1)
    assert digest(pipe) not in (known, other)


def test_a_run_that_made_nothing_is_in_no_ones_way(mine, tmp_path):
    """The mended call may follow, or --resume."""
    with refusal("ZeroDivisionError"):
        mine(generator=lambda labels, generator: 1 / 0)
    rows = []

    def fails_later(labels, generator):
        rows.append(labels)
        return draw(labels, generator) if len(rows) < 15 else 1 / 0

    with refusal("ZeroDivisionError"):
        mine(config=plan("sampling = { block_size = 10 }"), generator=fails_later)
    assert [*(tmp_path / "run/drawing").glob("round-0-row-0")]
    mine()
