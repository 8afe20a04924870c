"""Texts of two classes in files, and tiny random language models, made for a test."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from dp_real.text.data.reviews import ARCHIVE, DOMAINS
from dp_real.text.rated_sentences import FOLDER, INNER
from dp_real.text.word_lists import LANGUAGES

SENTENCES = {
    "praise": ["a fine film", "good fun and a great cast", "lovely from start to end", "great, great film"],
    "blame": ["a dull film", "bad jokes and a poor cast", "boring from start to end", "poor, poor film"],
}
RATED = {"films": (30, 2), "products": (4, 3), "tweets": (2, 2), "editorials": (3, 1)}
CHAT = "{% for turn in messages %}[{{ turn.role }}] {{ turn.content }}\n{% endfor %}[assistant] "


def text_folder(folder: Path, repeat: int = 1) -> Path:
    """FOLDER/CLASS/N.txt, each sentence `repeat` times with a number behind it."""
    for name, sentences in SENTENCES.items():
        (folder / name).mkdir(parents=True)
        for number in range(repeat):
            for place, sentence in enumerate(sentences):
                text = sentence if repeat == 1 else f"{sentence} {number}"
                (folder / name / f"{number:03d}-{place}.txt").write_text(text + "\n", encoding="utf-8")
    return folder


def packed(members: Mapping[str, bytes]) -> bytes:
    """A tar.gz of files, among which is a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        link = tarfile.TarInfo("link")
        link.type = tarfile.SYMTYPE
        link.linkname = "/etc/passwd"
        archive.addfile(link)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def rated(domain: str, count: int, repeated: int) -> bytes:
    """`count` sentences of each class; a few of the negative ones again with another rating, two that do not count."""
    negative = [f"{n}\t-2.5\tA dull ''{domain}'' number {n}, caf\xe9." for n in range(count)]
    positive = [f"{n}\t1.25\tA  fine {domain} number {n}." for n in range(count)]
    again = [line.replace("-2.5", "3.5") for line in negative[:repeated]]
    others = ["7\t0.4\tSo so.", "8\t-0.9\tNot good."]
    return "\n".join([*negative, *positive, *again, *others]).encode("latin-1")


def reviews_archive(folder: Path, **changed: bytes) -> Path:
    """The source distribution of vaderSentiment, as far as it is read. changed: what a domain's file holds instead."""
    files = {domain: rated(domain, *counts) for domain, counts in RATED.items()} | changed
    inner = packed({f"hutto_ICWSM_2014/{DOMAINS[domain]}_GroundTruth.txt": text for domain, text in files.items()})
    path = folder / ARCHIVE
    path.write_bytes(packed({f"{FOLDER}/{INNER}": inner}))
    return path


def word_lists(folder: Path) -> None:
    """A list of words for each language, as Debian has them: 100 or so of its own, and what must be left out."""
    for number, listed in enumerate(LANGUAGES.values()):
        own = [f"{chr(97 + number)}{a}{b}{c}wort" for a in "abcd" for b in "efgh" for c in "ijklm"]
        text = "\n".join([*own, "shared" * 2, "kurz", "Ümlaut's", f"Zorn{chr(97 + number)}ésig"])
        (folder / listed.file).write_text(text + "\n", encoding=listed.encoding)


def tokenizer(**options: Any) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the sentences."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<end>", "<pad>"], initial_alphabet=alphabet)
    bpe.train_from_iterator([text for texts in SENTENCES.values() for text in texts], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, **({"eos_token": "<end>", "pad_token": "<pad>"} | options))


def language_model(folder: Path, *, chat: bool = False, context: int = 96, end: bool = True, **options: Any) -> Path:
    """A tiny GPT-2 with random weights, and its tokenizer. end: whether it may end a text by itself."""
    own = tokenizer(**options)
    own.chat_template = CHAT if chat else None
    settings: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": context, "vocab_size": len(own)}
    settings |= {"eos_token_id": None, "bos_token_id": None}
    if end:
        settings |= {"eos_token_id": own.eos_token_id, "pad_token_id": own.pad_token_id}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(**settings))
    model.save_pretrained(folder)
    own.save_pretrained(folder)
    return folder


def gguf_model(file: Path, **metadata: int) -> Path:
    """A tiny Llama with random weights in a file of GGUF, with a tokenizer of bytes. metadata: what it says instead."""
    from gguf import GGUFWriter

    own = tokenizer()
    special = ["<|endoftext|>", "<s>", "</s>"]  # transformers would add the first one
    words = [*sorted(own.get_vocab(), key=own.get_vocab().__getitem__), *special]
    merges = [" ".join(merge) for merge in json.loads(own.backend_tokenizer.to_str())["model"]["merges"]]
    width, inner, layers = 32, 48, 2
    said: dict[str, Any] = {"block_count": layers, "context_length": 96, "embedding_length": width}
    said |= {"feed_forward_length": inner, "attention.head_count": 2, "attention.head_count_kv": 2}
    said = {f"llama.{key}": value for key, value in said.items()} | {"llama.vocab_size": len(words)} | metadata
    writer = GGUFWriter(file, "llama")
    writer.add_name("tiny")
    for key, value in said.items():
        writer.add_uint32(key, value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([1] * len(words))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(len(words) - 2)
    writer.add_eos_token_id(len(words) - 1)
    draw = np.random.default_rng(0)
    shapes = {"token_embd.weight": (len(words), width), "output_norm.weight": (width,)}
    for layer in range(layers):
        inside = {f"attn_{name}": (width, width) for name in ("q", "k", "v", "output")}
        inside |= {"attn_norm": (width,), "ffn_norm": (width,)}
        inside |= {"ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in inside.items()}
    for name, shape in shapes.items():
        writer.add_tensor(name, draw.standard_normal(shape, np.float32) / 5 + ("norm" in name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def encoder(folder: Path, classes: int = 3) -> Path:
    """A tiny BERT classifier with random weights, and its tokenizer."""
    own = tokenizer()
    settings: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    settings |= {"intermediate_size": 64, "vocab_size": len(own), "max_position_embeddings": 64}
    settings |= {"num_labels": classes, "pad_token_id": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForSequenceClassification(BertConfig(**settings)).save_pretrained(folder)
    own.save_pretrained(folder)
    return folder
