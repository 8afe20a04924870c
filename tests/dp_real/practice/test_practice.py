"""Properties that a training program of anybody's relies on."""

import gc
import json
from collections import Counter
from copy import deepcopy
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, DistributedSampler
from transformers import AutoConfig, AutoModelForSequenceClassification, ByT5Tokenizer

from dp_base.errors import DamagedError, DivergedError
from dp_real import Practice
from dp_real.learners.models.preprocess import preprocess_of
from dp_real.pool.marks import mark_of
from dp_real.practice.practice import check_order, logits_function
from dp_real.text.codes import texts_of, to_codes
from tests.dp_real.conftest import CONTEXTS
from tests.dp_real.generators import tiny_pipelines as tiny
from tests.dp_real.practice.small import Sampler, net
from tests.dp_real.runs.folders import json_lines, same_tensors
from tests.refusals import refusal


def draw(labels, generator):
    return (labels.view(-1, 1).float() / 5 - 1 + 0.3 * torch.randn(1, 4, generator=generator)).clamp(-1, 1)


def text(labels, generator):
    letters = torch.randint(97, 123, (6,), generator=generator)
    return ["abc"[int(labels[0])] * 3 + " " + "".join(map(chr, letters.tolist()))]


def uncertain(samples):
    return np.zeros((len(samples), 3))


def practice(folder, generator=None, **options):
    options = {"shape": (4,), "initial": 30, "increment": 12, "additions": 3, "patience": 1, "seed": 5} | options
    return Practice(generator or Sampler(), [*"abc"], folder, **options)


def rows(own):
    return own.pool.x[:].numpy().tobytes(), own.pool.y.tolist()


def test_data_is_added_once_patience_runs_out_and_as_often_as_asked(tmp_path):
    own, model = practice(tmp_path, patience=2, min_delta=0.05, additions=2), net()
    metrics = 0.5, 0.5, 0.54, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5  # a closed schedule is no error
    assert [index for index, metric in enumerate(metrics) if own.step(metric, model)] == [2, 5]
    log = json_lines(tmp_path / "rounds.jsonl")
    assert [(row["round"], row["evaluation"], row["count"]) for row in log] == [(0, 0, 30), (1, 3, 12), (2, 6, 12)]
    assert log[0]["entropy"] is None  # no learner was there
    assert 0 < log[1]["entropy"] < np.log(3)
    assert log[1]["omega"] > 0


def test_a_model_that_does_not_fit_is_refused_at_the_first_evaluation(tmp_path):
    own = practice(tmp_path / "grows", patience=9)
    with refusal("the model gave .* for 2 samples of 3 classes"):  # of one, GPT-2 would miss no padding token
        own.step(0.5, nn.Linear(4, 2))
    with refusal("has no gradient: both should be differentiable"):  # the sampler is guided
        own.step(0.5, uncertain)
    assert own.evaluations == 0
    assert practice(tmp_path / "control", control="random-direction", omega=0.1).step(0.5, uncertain) is False
    own.step(np.array([0.5]), net())  # a metric of one number
    assert not practice(tmp_path / "static", additions=0).step(0.5, None)


def test_samples_added_are_harder_than_plain_ones(tmp_path):
    model = nn.Linear(4, 3)
    guided, plain = (practice(tmp_path / str(omega), omega=omega, increment=300) for omega in (0.3, 0.0))
    assert guided.add(model)["entropy"] > plain.add(model)["entropy"] + 0.02


def test_what_is_hard_may_be_an_objective_of_ones_own(tmp_path):
    model, keys = nn.Linear(4, 3), {"omega": 0.3, "increment": 300}
    own = practice(tmp_path / "easy", **keys, objective=lambda logits: logits.log_softmax(1).amax(1))
    gc.collect()
    assert own.add(model)["entropy"] < practice(tmp_path / "hard", **keys).add(model)["entropy"] - 0.02
    with refusal("has samples of guidance.objective"):
        practice(own.folder, **keys)


def test_weights_modes_contexts_and_random_numbers_of_the_program_stay(tmp_path):
    own, model = practice(tmp_path), net().train()
    model[1].eval()  # frozen by its owner
    before, modes = deepcopy(model.state_dict()), [module.training for module in model.modules()]
    drawn = torch.get_rng_state()
    own.add(model)
    assert torch.get_rng_state().equal(drawn)
    assert same_tensors(model.state_dict(), before)
    assert [module.training for module in model.modules()] == modes
    assert all(weight.grad is None for weight in model.parameters())


class Observing(nn.Linear):
    """As fake quantisation, and as what was exported in training mode."""

    def __init__(self):
        super().__init__(4, 3)
        self.calls = nn.Buffer(torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


def test_buffers_that_change_in_evaluation_mode_are_put_back_and_that_is_told(tmp_path, caplog):
    own, model = practice(tmp_path, draw, candidates=2), Observing()
    own.add(model)
    assert model.calls == 0
    assert "1 buffers of the model change at a call in evaluation mode" in caplog.text
    caplog.clear()
    own.add(nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.Linear(8, 3)))
    assert not caplog.text


class Holder:
    def __init__(self, model, classes=()):
        self.models, self.classes_ = [model], classes

    def predict(self, x):
        return sum(model(x) for model in self.models)


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_same_samples_whatever_context_the_program_is_in(tmp_path, context):
    one, model = practice(tmp_path / "one"), net()
    one.add(model)
    with CONTEXTS[context]():
        other = practice(tmp_path / "other")
        other.add(model)
        other.load_state_dict(other.state_dict())
        assert other.dataset[0][0].device.type == "cpu"
    assert rows(one) == rows(other)


WRAPPED = {
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "compiled, in a partial": lambda model: partial(nn.Module.__call__, torch.compile(model, backend="eager")),
    "method": lambda model: Holder(model).predict,
    "double": lambda model: model.double(),
    "frozen script": lambda model: torch.jit.freeze(torch.jit.script(model.eval())),
    "transformers": lambda model: lambda x: SimpleNamespace(logits=model(x)),
    "dict": lambda model: lambda x: {"loss": None, "logits": model(x)},
    "numpy that is locked": lambda model: lambda x: np.broadcast_to(model(x).detach().numpy(), (len(x), 3)),
    "probabilities": lambda model: lambda x: model(x).softmax(1),
    "half probabilities": lambda model: lambda x: model(x).softmax(1).bfloat16(),
    "rounded probabilities": lambda model: lambda x: model(x).softmax(1).detach().numpy().round(3),
}


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("wrap", WRAPPED)
def test_models_in_their_wrappers_are_the_same_and_asked_in_evaluation_mode(tmp_path, wrap):
    one, other = (practice(tmp_path / name, draw, candidates=3) for name in ("one", "other"))
    expected = pytest.approx(one.add(net())["entropy"], abs=5e-3)
    model = net()
    wrapped, trains = WRAPPED[wrap](model), model.training
    assert other.add(wrapped)["entropy"] == expected
    assert rows(one) == rows(other)
    assert model[1].num_batches_tracked == 0
    assert all(part.training == trains for part in model.modules())


def test_resumed_is_as_unbroken(tmp_path):
    metrics = 0.3, 0.3, 0.5, 0.5, 0.4, 0.6, 0.6

    def train(own, numbers):
        for number in numbers:
            own.step(metrics[number], net(number))
        return rows(own), own.state

    whole = train(practice(tmp_path / "whole"), range(7))
    broken = practice(tmp_path / "broken")
    began = broken.state.costs.copy()
    train(broken, range(4))
    saved = json.loads(json.dumps(broken.state_dict()))
    saved["total_guidance"] = saved.pop("guidance_budget")  # as files of before say it
    broken.step(metrics[4], net(99))  # later than the checkpoint, by another model
    log = tmp_path / "broken/metrics.jsonl"
    lines = log.read_text()
    log.write_text(lines + lines.partition("}")[0] + "}")  # killed within a line
    again = practice(tmp_path / "broken")
    again.resume(0)
    assert again.state.costs == began
    again.load_state_dict(saved)
    assert train(again, range(4, 7)) == whole
    third = practice(tmp_path / "broken")
    third.resume(7)
    assert train(third, ()) == whole
    with refusal("ends with evaluation 7"):
        third.resume(8)
    with refusal(r"resume\(\[2\]\) is not in it"):
        third.resume([2])
    for damage in ("{\n" + lines, '{"evaluations": 7, "rounds": 1, "costs": 3}\n'):
        log.write_text(damage)
        with refusal(r"metrics\.jsonl cannot be read", DamagedError):
            third.resume(7)
    for name in ("rounds.jsonl", "practice.toml"):
        (tmp_path / "whole" / name).write_text("{\n")
        with refusal(f"{name} cannot be read: .*; restore it, or remove it", DamagedError):
            practice(tmp_path / "whole")
        (tmp_path / "whole" / name).unlink()
    assert len(practice(tmp_path / "whole").pool) == 30


def test_later_rounds_are_neither_mixed_in_nor_deleted_in_silence(tmp_path):
    own = practice(tmp_path)
    own.step(0.5, net())
    own.step(0.5, net())
    again = practice(tmp_path)
    assert len(again.pool) == 30
    log = (tmp_path / "metrics.jsonl").read_bytes()
    for _ in range(2):
        with refusal("has 1 later rounds of samples: call load_state_dict or resume .*name a new one, to begin anew"):
            again.step(0.5, net())
    assert len(list((tmp_path / "pool").glob("round-*"))) == 2
    assert (tmp_path / "metrics.jsonl").read_bytes() == log


def bright(labels, generator):
    return torch.rand(1, 1, 4, 4, generator=generator)


def test_images_in_another_range_and_an_aim_that_cannot_be_met_are_told(tmp_path, caplog):
    practice(tmp_path / "bright", bright, shape=(1, 4, 4), omega=0)
    practice(tmp_path / "dark", lambda labels, generator: 2 * bright(labels, generator) - 1, shape=(1, 4, 4), omega=0)
    own = practice(tmp_path / "hard", increment=40)
    for _ in range(4):
        own.add(lambda x: -x[:, :3])  # it is wrong
    assert [message[:22] for message in caplog.messages] == [
        "no pixel of the first ",
        "the strength is at its",
    ]


def test_a_stopped_round_goes_on_with_the_same_weights_classes_and_preprocess_only(tmp_path):
    generator = Sampler()
    own = practice(tmp_path, generator, block_size=4)
    for seed, labels, prepare, drawn in (
        (0, None, None, 1),
        (1, None, None, 3),
        (0, None, torch.tanh, 3),
        (0, [1] * 12, None, 3),
    ):
        generator.left = 3
        with pytest.raises(KeyboardInterrupt):
            own.add(net())
        generator.left, own.preprocess = 99, prepare
        own.add(net(seed), labels)
        own.preprocess = None
        assert 99 - generator.left == drawn
    assert own.pool.y[-12:].tolist() == labels


@pytest.mark.parametrize("at", ["weights_values", "remove", "append_row"])
def test_a_step_that_was_stopped_may_be_made_again(tmp_path, monkeypatch, at):
    """Before its round is drawn, when the pool has it, and before it is logged."""
    stopped, whole = practice(tmp_path / "stopped"), practice(tmp_path / "whole")
    for own in (stopped, whole):
        own.step(0.5, net())
    with monkeypatch.context() as patch:
        patch.setattr(f"dp_real.practice.practice.{at}", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stopped.step(0.4, net())
    assert stopped.step(0.4, net())
    assert whole.step(0.4, net())
    assert stopped.state_dict() == whole.state_dict()
    assert rows(stopped) == rows(whole)
    for log in ("metrics.jsonl", "rounds.jsonl"):
        assert (tmp_path / "stopped" / log).read_text() == (tmp_path / "whole" / log).read_text()


def test_a_folder_has_one_writer_and_samples_of_the_same_keys(tmp_path):
    own = practice(tmp_path)
    for options in ({"seed": 6}, {"omega": 0.1}, {"initial": 31}):
        with refusal(next(iter(options))):
            practice(tmp_path, **options)
    newer = practice(tmp_path, additions=9)  # no sample follows from it; a notebook's cell that is run again
    with refusal("a newer Practice of this program"):
        own.add(net())
    assert [*tmp_path.glob("*lock*")]
    del own, newer
    gc.collect()
    assert not [*tmp_path.glob("*lock*")]


class Counting:
    def __init__(self):
        self.calls, self.fails = 0, True

    def __call__(self, labels, generator):
        self.calls += 1
        assert not self.fails
        return text(labels, generator)


def test_a_folder_takes_a_generator_mended_before_its_first_samples_or_that_counts_calls(tmp_path):
    counting, options = Counting(), {"shape": None, "candidates": 2}
    with refusal("raised AssertionError"):
        practice(tmp_path, counting, **options)
    counting.fails = False
    practice(tmp_path, counting, **options).add(uncertain, [0])
    assert len(practice(tmp_path, counting, **options).pool) == 30
    counting.fails = 0
    with refusal(r"samples of a generator that differed in its code, .*: name a new folder, or remove practice.toml"):
        practice(tmp_path, counting, **options)


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_workers_that_persist_see_what_is_added_and_taken_back(tmp_path, how):
    own = practice(tmp_path, epoch_size=60)
    saved = own.state_dict()
    loader = DataLoader(
        deepcopy(own.dataset), 20, shuffle=True, num_workers=2, persistent_workers=True, multiprocessing_context=how
    )

    def seen():
        return {tuple(row) for x, _ in loader for row in x.tolist()}

    def added():
        return {tuple(row) for row in own.pool.x[30:].tolist()}

    before = seen()
    own.add(net())
    row = own.add(net())
    assert row == json_lines(tmp_path / "rounds.jsonl")[-1]
    assert "54 samples, 3 rounds" in repr(own)
    first = added()
    assert not before & first
    assert len(seen() & first) >= 12
    own.load_state_dict(saved)
    assert not seen() & first
    own.add(net(7))
    assert seen() & added()
    assert not seen() & (first - added())
    assert len(loader) == 3


def test_a_pass_covers_the_pool_evenly_and_processes_share_it_out(tmp_path):
    own = practice(tmp_path, epoch_size=90)
    counts = Counter(tuple(own.dataset[index][0].tolist()) for index in range(90))
    assert [*counts.values()] == [3] * 30
    own = practice(
        tmp_path / "other", epoch_size=np.int64(10), initial=np.int64(30), seed=np.int64(5), omega=np.float32(0.1)
    )
    first, second = (
        {tuple(own.dataset[index][0].tolist()) for index in DistributedSampler(own.dataset, 2, rank)} for rank in (0, 1)
    )
    assert not first & second
    with pytest.raises(TypeError, match="slice"):
        own.dataset[0:2]


def test_beside_real_data_and_without_initial_samples(tmp_path):
    own = practice(tmp_path, initial=0, epoch_size=8)
    real = [(torch.full((4,), 9.0), 0)] * 6
    both = ConcatDataset([real, own.dataset])
    with refusal("nothing is drawn yet"):
        both[13]
    assert [own.step(0.5, net()), own.step(0.5, net())] == [False, True]
    assert own.pool.table()["omega"].to_numpy().min() > 0  # the first ones are hard for the model, too
    assert sum(len(x) for x, _ in DataLoader(both, 7)) == 14


def test_what_was_marked_is_left_out(tmp_path, caplog):
    whole = practice(tmp_path / "whole")
    (tmp_path / "marks.csv").write_text(f"mark\n{mark_of(whole.pool.x[:1][0], 'a')}\n")
    own = practice(tmp_path / "own", marks=f"{tmp_path}/marks.csv")
    assert own.pool.x[:].equal(whole.pool.x[1:30])
    assert "pool.marks fits no example" not in caplog.text
    practice(tmp_path / "other", seed=6, marks=f"{tmp_path}/marks.csv")
    assert "pool.marks fits no example of the first round" in caplog.text


def test_items_are_named_and_transformed(tmp_path):
    def image(labels, generator):
        return torch.rand(1, 3, 8, 8, generator=generator) * 2 - 1

    own = practice(tmp_path, image, shape=(3, 8, 8), candidates=2, storage="uint8")
    assert own.dataset[0][0].is_floating_point()
    own.dataset.transform = lambda picture: np.array(picture.rotate(90))
    own.dataset.columns = ("pixel_values", "labels")
    batch = next(iter(DataLoader(own.dataset, 5)))
    assert batch["pixel_values"].shape == (5, 8, 8, 3)
    assert batch["labels"].dtype == torch.int64


def test_texts(tmp_path):
    own = practice(tmp_path, text, shape=None, candidates=3, distinct=0.99)

    def log_probabilities(texts):  # more candidates begin with a vowel than plain ones: they are harder
        return np.array([[1.0 if words[4] in "aeiou" else 9.0, 0.0, 0.0] for words in texts])

    own.add(log_probabilities)
    vowels = [words[4] in "aeiou" for words in texts_of(own.pool.x[30:])]
    assert np.mean(vowels) > 0.3  # 5 of 26 letters are
    own.dataset.columns = ("text", "label")
    own.dataset.transform = lambda words: {"input_ids": [ord(letter) for letter in words]}
    assert set(own.dataset[3]) == {"input_ids", "label"}
    for labels in ([2, 2], np.int64(2)):
        assert own.add(uncertain, labels)["count"] == 2


@pytest.mark.parametrize(("kind", "side"), [("gpt2", "left"), ("xlnet", "right")])
def test_a_text_is_as_hard_as_alone_however_its_tokenizer_pads(tmp_path, kind, side):
    """One text is longer than the model's context."""
    tokenizer = ByT5Tokenizer(extra_ids=0, padding_side=side)
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 8, "d_model": 8, "n_positions": 12, "initializer_range": 1.0}
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), num_labels=3, pad_token_id=0, **sizes)
    model = AutoModelForSequenceClassification.from_config(config)
    logits = logits_function(model, tokenizer, practice(tmp_path, text, shape=None, candidates=2).config)
    texts = to_codes(["ab", "cdefghi", "klmnopqrstuvwxyz"], 20)
    assert logits(texts).allclose(torch.cat([logits(row) for row in texts.split(1)]), atol=1e-5)


@pytest.mark.parametrize("after", ["reopening", "going back", "a full disk"])
def test_texts_stay_distinct(tmp_path, monkeypatch, after):
    def few(labels, generator):
        return [f"abc {int(torch.randint(60, (1,), generator=generator))}"]

    options = {"shape": None, "initial": 20, "candidates": 2, "distinct": 1.0}
    whole, own = (practice(tmp_path / name, few, **options) for name in ("whole", "own"))
    for _ in range(2):
        whole.add(uncertain)
    own.add(uncertain)
    saved = own.state_dict()
    if after == "a full disk":
        monkeypatch.setattr(own.pool, "append", Mock(side_effect=OSError("full")))
        with pytest.raises(OSError, match="full"):
            own.add(uncertain)
        monkeypatch.undo()
    else:
        if after == "going back":
            own.add(uncertain)
        else:
            own = practice(tmp_path / "own", few, **options)
        own.load_state_dict(saved)
    own.add(uncertain)
    assert rows(own) == rows(whole)


def test_fewer_samples_than_classes_are_told(tmp_path, caplog):
    practice(tmp_path, initial=2)
    assert "initial = 2: fewer samples than the 3 classes" in caplog.text


@pytest.mark.parametrize(("shape", "cut"), [(None, True), ((2000,), False)])
def test_longer_texts_are_kept_or_said_to_be_cut(tmp_path, caplog, shape, cut):
    own = practice(tmp_path, lambda *row: text(*row)[0] + "x" * 1500, shape=shape, storage="text", candidates=2)
    assert ("the generator gave texts of more than 1,000 characters, which are cut" in caplog.text) == cut
    assert len(own.dataset[0][0]) == (1000 if cut else 1510)


SHOTS = {"kind": "openai", "base_url": "http://localhost:1", "model": "m", "shots": 1, "prompts": ["{} {examples}"]}
PIPELINE = partial(tiny.random_pipeline, tiny.stable_diffusion)
REFUSED = [
    (lambda labels, generator: torch.zeros(4), {"candidates": 2}, r"gave shape \[4\] for one label"),
    (draw, {}, "^Practice: the generator that was given has no denoiser to guide: set guidance.candidates"),
    (draw, {"shape": None, "storage": "jpeg"}, "a Practice of texts: pool.storage must be 'text'"),
    (draw, {"shape": None, "candidates": 2}, "gave no 30 texts for 30 labels: .* with shape= and no storage"),
    ({"kind": "openai", "modle": 1}, {}, "unknown key generator.modle"),
    (SHOTS, {"shape": (3, 8, 8)}, "a Practice with shape has no texts"),
    (draw, {"classes": 3}, "classes = 3: should be at least two"),
    (draw, {"omaga": 1}, "has no key omaga: did you mean omega"),
    (draw, {"evaluate_every": 1}, "has no key evaluate_every: it is for dp_real.run"),
    (draw, {"candidates": 2, "size": 8}, "has no key size: it is for dp_real.run"),
    (None, {"steps": 1}, "guides none of the 1 sampling.steps"),
    (None, {"guidance_scale": 4}, "is not passed to the generator that was given"),
    (None, {"keep": "covariance"}, "set oversample to at least 2"),
    (PIPELINE, {"shape": (2, 32, 32)}, "a pipeline draws images .*these are"),
    (draw, {"classes": ["a"]}, "at least two different names"),
    (draw, {"classes": [*"aba"]}, "at least two different names"),
    (draw, {"classes": {"a", "b"}}, "different names in order"),
    (draw, {"classes": {"a": "an a", "b": "a b"}}, "prompts of a class are for a pipeline"),
    (
        partial(tiny.random_pipeline, tiny.dit),
        {"classes": {"tench": "a tench", "hen": "a hen"}, "shape": (3, 32, 32)},
        "reads no prompts: leave them out",
    ),
    (SHOTS, {"shape": None, "candidates": 2}, "has no real examples, which this generator needs"),
    ({"kind": "denoiser"}, {"shape": (1, 8, 8)}, "has no real examples, which this generator needs"),
]


@pytest.mark.parametrize(("generator", "options", "said"), REFUSED)
def test_what_does_not_fit_is_told_in_a_line(tmp_path, generator, options, said):
    generator = generator() if isinstance(generator, partial) else generator or Sampler()
    own = {"classes": [*"abc"], "folder": tmp_path, "shape": (4,), "initial": 30, "increment": 6}
    with refusal(said):
        Practice(generator, **own | options)


def fails(x):
    raise RuntimeError("first line\nsecond line")


def named(names):
    model = net()
    model.config = SimpleNamespace(id2label={str(label): name for label, name in enumerate(names)})
    return model


def test_names_of_classes_are_in_the_order_of_their_numbers():
    check_order(named("abcdefghijk"), "abcdefghijk")


UNFIT = {
    "classes are B, a, c: Practice should have": lambda own: own.add(named("Bac")),
    "classes are c, b, a: Practice should have": lambda own: own.add(Holder(net(), [*"cba"]).predict),
    r"cannot process samples \[12, 4\]; preprocess= may prepare them: first line$": lambda own: own.add(fails),
    r"samples \[12, 4\]; .* it gave a tuple": lambda own: own.add(lambda x: (uncertain(x), x)),
    r"samples \[12, 4\]; .* it gave a dict, should": lambda own: own.add(lambda x: {"out": uncertain(x)}),
    "the model is None": lambda own: own.add(None),
    r"labels = \[0, 3\]: should be": lambda own: own.add(net(), [0, 3]),
    r"labels = \['a'\]: should be a count": lambda own: own.add(net(), ["a"]),
    r"labels = tensor\(\[True\]\): should be a count": lambda own: own.add(net(), torch.tensor([True])),
    "labels = 0: should be a count, or classes 0 to 2": lambda own: own.add(net(), 0),
    "has 0 of 1 rounds of samples: put": lambda own: own.pool.path.rename(own.folder / "moved") and own.add(net()),
    "has None rounds of samples, .* has 1: name that": lambda own: own.load_state_dict({}),
    "another seed or classes": lambda own: own.load_state_dict(practice(own.folder / "b", seed=6).state_dict()),
    "has 2 rounds of samples": lambda own: own.load_state_dict(own.state_dict() | {"rounds": 2}),
}


@pytest.mark.parametrize("said", UNFIT)
def test_models_labels_and_checkpoints_that_do_not_fit(tmp_path, said):
    own = practice(tmp_path, draw, candidates=2)
    with refusal(said):
        UNFIT[said](own)
    assert len(own.pool) == 30


def test_a_metric_that_is_no_finite_number_is_refused(tmp_path):
    own = practice(tmp_path)
    for metric in (float("nan"), float("inf"), torch.tensor(-torch.inf), np.ones(2), 10**309, None):
        with refusal(f"not a number, {metric!r:.4}"):
            own.step(metric, net())


@pytest.mark.parametrize(("generator", "candidates"), [(draw, 2), (Sampler(), 1)])
def test_a_model_that_diverged_is_told(tmp_path, generator, candidates):
    own, broken = practice(tmp_path, generator, candidates=candidates), net()
    nn.init.constant_(broken[0].weight, torch.nan)
    with refusal("finite: lower the learning rate or", DivergedError):
        own.add(broken)
    assert len(own.pool) == 30


def test_who_asks_the_length_of_a_growing_pool_only_once_is_told(tmp_path, caplog):
    for name in ("asks", "asks once"):
        own = practice(tmp_path / name, epoch_size=0)
        own.add(net())
        loader = DataLoader(ConcatDataset([own.dataset]) if "once" in name else own.dataset, 8)
        for _ in range(2):
            assert not caplog.messages
            assert len(loader.dataset) == 42 or name == "asks"
            list(loader)
            own.add(net())
    assert "since it had 42 rows" in caplog.text


def test_a_processor_prepares_images_for_a_model(tmp_path):
    """Of guided images, too, which it could not have processed itself."""
    model, processor = tiny.tiny_vit(), tiny.vit_processor()
    keys = {"shape": (3, 32, 32), "initial": 3, "increment": 3, "steps": 3, "omega": 0.1}
    added = []
    scale = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.3]}
    sizes = {"resize_size": [18], "crop_size": [16], "interpolation": SimpleNamespace(value="bicubic")}
    preset = SimpleNamespace(**sizes, **scale)  # torchvision's weights.transforms()
    model.pretrained_cfg = {"input_size": (3, 16, 16), **scale}  # as of a model of timm, which its average lacks
    wrapper = SimpleNamespace(data_config=model.pretrained_cfg)  # TimmWrapperImageProcessor
    for number, preprocess in enumerate((processor, preprocess_of(model, processor), preset, wrapper, None)):
        own = Practice(PIPELINE(), [*"abc"], tmp_path / str(number), **keys, preprocess=preprocess)
        own.add(model if preprocess else torch.optim.swa_utils.AveragedModel(model))
        added.append(rows(own))
    assert added[0] == added[1] != added[2] == added[3] == added[4]


class ToTensor:
    """As torchvision's, timm's MaybeToTensor and ToImage of transforms.v2, some of which let tensors pass."""

    def __call__(self, picture):
        return picture


class Compose(ToTensor):
    def __init__(self, *transforms):
        self.transforms = transforms

    def __repr__(self):
        return f"Compose(\n{self.transforms}\n)"


def test_transforms_of_pictures_are_no_function_of_images(tmp_path):
    """They would normalise images in [-1, 1] as if they were in [0, 1]."""
    own = practice(tmp_path, lambda *row: draw(*row).view(1, 1, 2, 2), shape=(1, 2, 2), candidates=2)
    for own.preprocess in (Compose(Compose(nn.Flatten(), ToTensor())), ToTensor()):
        with refusal("^processor = .*preprocess= of Practice may be a function of images"):
            own.add(nn.Sequential(nn.Flatten(), net()))
    own.preprocess = Compose(nn.Flatten())
    own.add(nn.Sequential(nn.Flatten(), net()))


def test_images_of_a_pipeline_of_diffusers_are_selected(tmp_path):
    pipe = PIPELINE()
    classes = {"crane": ["a crane, a bird", "a crane"], "bus": "a bus"}
    keys = {"shape": (3, 32, 32), "initial": 4, "increment": 4, "steps": 3, "omega": 5, "candidates": 2}
    own = Practice(pipe, classes, tmp_path, **keys)
    own.add(nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.Flatten(), nn.Linear(256, 2)))
    assert own.pool.table()["omega"].to_pylist() == [0] * 4 + [5] * 4
    assert own.config.sampling.guidance_scale == 4
    distilled = Practice(tiny.random_pipeline(tiny.flux), classes, tmp_path / "flux", **keys)
    assert distilled.config.sampling.guidance_scale == 1
    with refusal(r"prompts.bus = .*at least one prompt"):
        Practice(pipe, {"crane": ["a crane"], "bus": []}, tmp_path / "other", **keys)
