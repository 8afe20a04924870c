"""Runs on texts: from real files to a report, with tiny random models."""

import tomllib
from unittest.mock import Mock

import datasets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dp_base.errors import DivergedError, MissingError
from dp_real import Run, run
from dp_real.config import parse_config
from dp_real.data.examples import Task
from dp_real.evaluate.assess import layer_inputs, penultimate
from dp_real.learners.models.network import NetworkLearner
from dp_real.plan.forecast import UNKNOWN, learner_network
from dp_real.pool.export import write_jsonl, write_parquet
from dp_real.runs.afterwards import evaluate
from dp_real.runs.branch import branch
from dp_real.runs.prepare import load_generator
from dp_real.runtime.seeds import row_seeds
from dp_real.text.codes import texts_of, to_codes
from dp_real.text.models.sequence_classifier import fresh_classifier
from tests.dp_real.conftest import changed
from tests.dp_real.runs.folders import assert_loads_elsewhere, assert_resumes_as, dying, json_lines, set_keys
from tests.dp_real.text.made import (
    SENTENCES,
    assert_rows_are_their_own,
    assert_sentences_of_their_classes,
    encoder,
    language_model,
    text_folder,
)
from tests.refusals import refusal

CHARS = tomllib.loads("""
name = "chars"
threads = 1
generator = { kind = "char-lm", training = "light" }
sampling = { block_size = 16 }
guidance = { candidates = 2, likelihood_weight = 0.5, omega = 5.0 }
learner = { kind = "bag-of-words" }
training = { steps = 60, learning_rate = 0.01, batch_size = 16, ema_decay = 0.9 }
practice = { initial = 20, increment = 10, additions = 2, patience = 1, evaluate_every = 5 }
pool = { storage = "text" }
""")
ASKED = tomllib.loads("""
name = "asked"
learner = { kind = "transformers-text", model = "encoder", max_tokens = 16 }
training = { steps = 12, batch_size = 8 }
practice = { initial = 8, increment = 4, additions = 1, patience = 1, evaluate_every = 2 }

[generator]
kind = "causal-lm"
model = "lm"
chat = true
shots = 1
prompts = ["Like {examples}: {}?", "{} as {examples}?"]
max_new_tokens = 8
top_p = 0.9
top_k = 50
""")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    text_folder(folder / "texts", repeat=2)
    language_model(folder / "lm")
    encoder(folder / "encoder")
    return folder


@pytest.fixture(scope="module")
def chars(models):
    """A character model and a bag of words."""
    texts = f"{models}/texts"
    return parse_config(CHARS | {"data": {"source": "text", "validation": texts, "train": texts, "length": 40}})


@pytest.fixture(scope="module")
def asked(chars, models):
    """A language model, asked by prompts with examples, and an encoder that is trained already."""
    asked = parse_config(chars.model_dump() | ASKED)
    return changed(asked, f"generator.model={models}/lm", f"learner.model={models}/encoder")


@pytest.fixture(scope="module")
def practised(chars, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "chars"
    run(chars, folder)
    return Run(folder)


def test_a_pool_of_texts(practised):
    texts = texts_of(practised.pool.x)
    assert len(texts) == 40
    assert all(texts)
    assert practised.pool.storage.exported.name == "text"
    text, label = practised.pool[0]
    assert (text.dtype, label) == (torch.int32, 0)
    assert practised.result["near"].keys() == {"similarity", "pool", "validation"}
    assert practised.result["generation_flops"] > 0


def test_resuming_is_exact(chars, practised, tmp_path):
    with dying(33):
        run(chars, tmp_path)
    assert_resumes_as(practised.path, chars, tmp_path)
    assert texts_of(Run(tmp_path).pool.x) == texts_of(practised.pool.x)


def test_its_learner_needs_no_run(practised, tmp_path):
    assert_loads_elsewhere(practised.path, tmp_path)


def test_afterwards(practised, models, tmp_path):
    more = evaluate(practised, {"more": f"{models}/texts"})
    assert [row["images"] for row in more] == [16, 16, 16]
    assert [row["pool_size"] for row in branch(practised.path)] == [20, 30, 40]
    write_jsonl(practised.pool, practised.config.task.classes, tmp_path)
    write_parquet(practised.pool, practised.config.task.classes, tmp_path)
    table = datasets.load_dataset("parquet", data_files=f"{tmp_path}/train.parquet", split="train")
    lines = datasets.load_dataset("json", data_files=f"{tmp_path}/train.jsonl", split="train")
    assert list(lines["text"]) == list(table["text"]) == texts_of(practised.pool.x)
    assert list(map(int, lines["seed"])) == list(table["seed"]) == practised.pool.table()["seed"].to_pylist()
    assert set(lines["label"]) == set(table.features["label"].names) == {"blame", "praise"}


def remarks(labels, seeds):
    """A function as generator: sentences of the class with a word of the seed's."""
    sentences = [SENTENCES[name] for name in sorted(SENTENCES)]  # as folders are
    return [f"{sentences[label][seed % 4]} {seed % 89}" for label, seed in zip(labels[:], seeds[:], strict=True)]


FUNCTION = f"generator={{kind='function', call='{__name__}:remarks'}}"


def test_a_function_that_writes_texts(chars, tmp_path):
    config = changed(chars, FUNCTION, "guidance.candidates=3", "guidance.likelihood_weight=0.0")
    result = run(config, tmp_path)
    assert result["samples_generated"] == 20 + 3 * 20
    assert_sentences_of_their_classes(Run(tmp_path))


def test_distinct_texts(chars, tmp_path, patch):
    config = changed(chars, "generator.temperature=0.3", "pool.distinct=0.8", "practice.initial=60")
    result = run(config, tmp_path / "run")
    assert (result["near"]["pool"], result["near"]["validation"]) == (0, 0)
    assert result["pool_size"] < result["samples_generated"] - result["samples_redrawn"]
    facts = Run(tmp_path / "run").pool.table()
    assert facts["row"].to_pylist() == list(range(result["pool_size"]))
    patch("dp_real.text.near_duplicates.NearTexts.add", lambda self, texts, *_: np.ones(len(texts), bool))
    with refusal(r"all 60 texts are like earlier ones: raise pool.distinct = 0.8", DivergedError):
        run(config, tmp_path / "none")
    with refusal(r"all 60 texts are like earlier ones: make the generator's texts more varied", DivergedError):
        run(changed(config, "pool.distinct=1.0"), tmp_path / "equal")


def test_a_language_model_is_asked(asked, models, tmp_path):
    """The learner is one of transformers, and is read without the weights that it began with."""
    result = run(asked, tmp_path / "run")
    assert (result["pool_size"], result["additions"]) == (12, 1)
    learner = tmp_path / "run/learner"
    model, tokenizer = (kind.from_pretrained(learner) for kind in (AutoModelForSequenceClassification, AutoTokenizer))
    assert model.config.id2label == {0: "blame", 1: "praise"}
    assert tokenizer.model_max_length == asked.learner.max_tokens
    inputs = tokenizer(["a fine film"], return_tensors="pt", truncation=True)
    theirs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    (models / "encoder").rename(models / "gone")
    try:
        ours = Run(tmp_path / "run").learner().logits(to_codes(["a fine film"], 40))
    finally:
        (models / "gone").rename(models / "encoder")
    assert ours.allclose(theirs, atol=1e-5)


def rows(n):
    """What a sampler is given for so many rows of both classes."""
    return torch.arange(n) % 2, row_seeds(0, 0, range(n)), None


def test_rows_of_a_language_model_are_their_own(asked):
    generator = load_generator(asked)
    labels, seeds, _ = rows(5)
    whole = assert_rows_are_their_own(generator, labels, seeds)
    assert len({tuple(row.tolist()) for row in whole}) == 5
    prompt = generator.chat_prompt(0, seeds[0])
    assert prompt.startswith("[user] ")
    assert prompt.endswith("[assistant] ")


def test_the_likelihood_is_that_of_the_prompts(asked):
    """Bayes over the likelihoods, one text and class at a time, without padding; of a long text, equal parts."""
    generator = load_generator(asked)
    texts = ["a fine film", "bad jokes", "zzzz yyyy xxxx"]
    found = torch.empty(3, 2, dtype=torch.float64)
    prompts = [generator.chat_prompt(label, 0) for label in range(2)]
    prompts = generator.tokenizer(prompts, add_special_tokens=False)["input_ids"]
    assert len(prompts[0]) != len(prompts[1])
    generator.context = max(map(len, prompts)) + 9
    for label, before in enumerate(prompts):
        for row, text in enumerate(texts):
            after = generator.tokenizer(text, add_special_tokens=False)["input_ids"][:9]
            logits = generator.model(torch.tensor([before + after])).logits[0].double().log_softmax(-1)
            found[row, label] = sum(logits[len(before) - 1 + place, token] for place, token in enumerate(after))
    assert generator.log_posterior(to_codes(texts, 40)).allclose(found.log_softmax(1), atol=1e-6)


def test_soft_labels_are_the_generators_own(chars, tmp_path, patch):
    soft = changed(chars, "pool.soft_labels=true", "practice.real=6")
    seen = []
    train_step = NetworkLearner.train_step

    def watched(self, x, y, *share):
        seen.append(y)
        train_step(self, x, y, *share)

    patch("dp_real.learners.models.network.NetworkLearner.train_step", watched)
    run(soft, tmp_path / "run")
    pool = Run(tmp_path / "run").pool
    found = load_generator(soft).log_posterior(pool.x[6:]).exp().float()
    assert pool.posterior[6:].allclose(found, atol=1e-6)
    assert pool.posterior[:6].equal(F.one_hot(pool.y[:6], soft.task.n_classes).float())  # of real texts
    assert all((pool.posterior == row).all(1).any() for y in seen for row in y)
    assert pool[7][1] == pool.y[7]

    write_jsonl(pool, soft.task.classes, tmp_path)
    assert json_lines(tmp_path / "train.jsonl")[7]["posterior"] == pytest.approx(pool.posterior[7].tolist())


def test_a_model_brings_no_settings_of_its_own(asked, tmp_path):
    """Penalties and beams that its folder names, or no padding: the texts are those of the configuration."""
    plain, own = (language_model(tmp_path / name, pad_token=None) for name in ("plain", "own"))
    set_keys(own / "generation_config.json", repetition_penalty=1.8, num_beams=2)
    configs = [asked, *(changed(asked, f"generator.model={path}") for path in (plain, own))]
    expected, *others = (load_generator(each).sample(*rows(4)) for each in configs)
    assert all(each.equal(expected) for each in others)


def test_a_language_model_without_room_names_its_own_keys(asked, patch):
    generator = load_generator(asked)
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    patch(generator.model, "generate", Mock(side_effect=error))
    with refusal(r"a single row needs more memory.*: generator.dtype = 'bfloat16', generator.max_new_t", MissingError):
        generator.sample(*rows(2))


BART = {f"{part}_{what}": 1 for part in ("encoder", "decoder") for what in ("layers", "attention_heads")}


@pytest.mark.parametrize(
    ("architecture", "sizes"), [("bart", BART | {"d_model": 16}), ("xlnet", {"d_model": 16, "n_layer": 1, "n_head": 2})]
)
def test_a_classifier_may_look_at_the_end_of_a_text(asked, architecture, sizes):
    section = {"kind": "transformers-text", "architecture": architecture, "config": sizes, "max_tokens": 32}
    config = parse_config(asked.model_dump() | {"learner": section})
    learner = config.learner.fresh(config.task, config.training, 0)
    assert learner.row_flops(config.task.sample_shape) > 0
    assert learner_network(config) == UNKNOWN  # it looks for the end of a text, where a plan has none
    x = to_codes(["a fine film that ends after thirty-two tokens", "short"] * 40, 40)
    for read in (learner.logits, lambda rows: torch.from_numpy(penultimate(learner, rows))):
        assert read(x).allclose(torch.cat([read(row) for row in x.split(1)]), atol=1e-6)
    with refusal("its last linear layer reads each token"):  # as GPT-2's does
        layer_inputs(net := torch.nn.Linear(2, 2), net, torch.zeros(1, 3, 2))


@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet", "ibert", "esm"])
def test_a_long_text_is_cut_to_the_positions_that_a_classifier_has(architecture):
    """Those of RoBERTa's kin begin behind the padding token's."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    sizes |= {"max_position_embeddings": 40}
    model = fresh_classifier(Task((80,), ("a", "b")), architecture, sizes, 64).eval()
    x = to_codes(["long " * 16, "long " * 15 + "other"], 80)
    assert 38 <= model.max_tokens <= 40
    assert model(x)[0].allclose(model(x)[1])  # what differs is cut


def test_stop_strings_end_a_text(asked):
    def drawn(**stop):
        generator = load_generator(changed(asked, "generator.shots=0", "generator.prompts=['{}']", generator=stop))
        return texts_of(generator.sample(*rows(6)))

    texts = drawn()
    stop = texts[0][1]
    assert [text.partition(stop)[0].strip() for text in texts] == drawn(stop=[stop])


@pytest.mark.parametrize(("said", "kept"), [("Hm.</think>a text", "a text"), ("no end", "")])
def test_a_thought_that_a_template_begins_is_no_part_of_a_text(asked, patch, said, kept):
    generator = load_generator(asked)
    generator.tokenizer.chat_template += "<think>\n"
    patch(generator.tokenizer, "batch_decode", lambda new, **_: [said] * len(new))
    assert texts_of(generator.sample(*rows(2))) == [kept] * 2


def test_leaks_are_said(asked, tmp_path, caplog, patch):
    """A model that only repeats what its prompt showed."""

    def parrot(self, labels, seeds, guidance):
        return self.shots.x[:][[int((self.shots.y == label).nonzero()[0]) for label in labels.tolist()]]

    patch("dp_real.text.models.causal_lm.CausalLMGenerator.sample", parrot)
    near = run(asked, tmp_path)["near"]
    assert (near["validation"], near["pool"]) == (12, 10)
    assert "12 training texts are nearly equal to texts of the validation set, which prompts contained" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 20}, r"with 8 to follow, is longer than the context of 20 tokens"),
        ({"chat": False}, "its tokenizer has no chat template: set generator.chat = false"),
    ],
)
def test_models_that_cannot_be_used(asked, tmp_path, options, message):
    folder = language_model(tmp_path / "lm", **options)
    with refusal(message):
        load_generator(changed(asked, f"generator.model={folder}"))


def test_a_model_that_answers_nothing_leaves_the_folder_free(asked, tmp_path, monkeypatch):
    monkeypatch.setattr("dp_real.text.models.causal_lm.CausalLMGenerator.cut", lambda self, text: "")
    message = r"round 0: 8 of 8 samples are empty: no text, refusals, or cut off: change generator.prompts or stop, or "
    with refusal(message, DivergedError):
        run(asked, tmp_path)
    monkeypatch.undo()
    assert run(asked, tmp_path)["pool_size"] == 12


@pytest.mark.parametrize(
    ("setting", "message"),
    {
        "training.mixup=0.5": "training.mixup is for images",
        "generator.shots=0": "has {examples}, and shots = 0",
        "generator.prompts=['a {} text']": "has no {examples}, and shots = 1",
        "learner={kind='mlp'}": "'text' has texts: learner.kind = 'mlp' is for arrays",
        "data={source='digits'}": "'digits' has no texts: generator.kind = 'causal-lm' is for texts",
        FUNCTION: "'function' knows no probability of a label: guidance.likelihood_weight must be 0",
    }.items(),
)
def test_settings_that_exclude_each_other(asked, setting, message):
    with refusal(message):
        changed(asked, setting)
