"""Texts of two classes in files, and tiny random language models, made for a test."""

import tomllib

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from dp_real.config import parse_config
from dp_real.text.codes import texts_of

SENTENCES = {
    "praise": ["a fine film", "good fun and a great cast", "lovely from start to end", "great, great film"],
    "blame": ["a dull film", "bad jokes and a poor cast", "boring from start to end", "poor, poor film"],
}

CHAT = "{% for turn in messages %}[{{ turn.role }}] {{ turn.content }}\n{% endfor %}[assistant] "


ASKED = tomllib.loads("""
name = "asked"
threads = 1
sampling = { block_size = 8 }
guidance = { candidates = 2 }
learner = { kind = "ngrams" }
training = { steps = 60, learning_rate = 0.01, batch_size = 8 }
practice = { initial = 12, increment = 8, additions = 1, patience = 1, evaluate_every = 5 }
pool = { storage = "text" }
""")


def endpoint_config(url, model, texts, **generator):
    """A short run against an endpoint."""
    data = {"source": "text", "validation": str(texts), "length": 40}
    asked = {"kind": "openai", "base_url": url, "model": model, "max_new_tokens": 8} | generator
    return parse_config(ASKED | {"data": data, "generator": asked})


def text_folder(folder, repeat=1):
    """FOLDER/CLASS/N.txt, each sentence `repeat` times with a number behind it."""
    for name, sentences in SENTENCES.items():
        (folder / name).mkdir(parents=True)
        for number in range(repeat):
            for place, sentence in enumerate(sentences):
                text = sentence if repeat == 1 else f"{sentence} {number}"
                (folder / name / f"{number:03d}-{place}.txt").write_text(text + "\n")
    return folder


def assert_sentences_of_their_classes(done):
    """Each text of a run's pool is a sentence of its class with a word behind it."""
    for text, label in zip(texts_of(done.pool.x), done.pool.y.tolist(), strict=True):
        assert text.rsplit(" ", 1)[0] in SENTENCES[done.config.task.classes[label]]


def assert_rows_are_their_own(generator, labels, seeds):
    """What is drawn for a row does not depend on the others."""
    whole = generator.sample(labels, seeds, None)
    rows = [generator.sample(labels[row : row + 1], seeds[row : row + 1], None) for row in range(len(labels))]
    assert whole.equal(torch.cat(rows))
    return whole


def tokenizer(**options):
    """A byte-level BPE of the sentences."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<end>", "<pad>"], initial_alphabet=alphabet)
    bpe.train_from_iterator([text for texts in SENTENCES.values() for text in texts], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, **({"eos_token": "<end>", "pad_token": "<pad>"} | options))


def language_model(folder, *, chat=True, context=96, **options):
    """A tiny GPT-2 with random weights, and its tokenizer."""
    own = tokenizer(**options)
    own.chat_template = CHAT if chat else None
    settings = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": context, "vocab_size": len(own)}
    settings |= {"eos_token_id": own.eos_token_id, "pad_token_id": own.pad_token_id, "bos_token_id": None}
    return saved(folder, own, GPT2LMHeadModel, GPT2Config(**settings))


def encoder(folder, classes=3):
    """A tiny BERT classifier with random weights, and its tokenizer."""
    own = tokenizer()
    settings = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    settings |= {"intermediate_size": 64, "vocab_size": len(own), "max_position_embeddings": 64}
    settings |= {"num_labels": classes, "pad_token_id": 1}
    return saved(folder, own, BertForSequenceClassification, BertConfig(**settings))


def saved(folder, own, kind, config):
    """Random weights of this configuration, and their tokenizer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kind(config).save_pretrained(folder)
    own.save_pretrained(folder)
    return folder
