"""Files of the studies' data as they are published, made for a test: images, texts, and a language model."""

import io
import json
import tarfile

import numpy as np
import torch
from dp_experiments.studies.reviews.source import ARCHIVE, DOMAINS, INNER
from dp_experiments.studies.words.source import LANGUAGES

from tests.dp_real.text.made import tokenizer

RATED = {"films": (30, 2), "products": (4, 3), "tweets": (2, 2), "editorials": (3, 1)}


def loaded(section):
    """The examples of a section, which are those of the task that it states before they are loaded."""
    task = section.task
    data = section.load()
    assert data.task == task
    assert task.n_classes == len(set(task.classes)) > 1
    assert section.has_training_examples == (data.train is not None)
    parts = list(filter(None, (data.train, data.validation, data.test)))
    for part in (*parts, *data.sets.values()):
        assert part.x[:].shape == (len(part.y), *task.sample_shape)
        assert part.y.dtype == torch.int64
        assert set(part.y.tolist()) <= set(range(task.n_classes))
    assert all(len(part.y.unique()) == task.n_classes for part in parts)
    return data


def idx(array):
    """An IDX file of unsigned bytes."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def packed(members):
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


def rated(domain, count, repeated):
    """`count` sentences of each class; a few of the negative ones again with another rating, two that do not count."""
    negative = [f"{n}\t-2.5\tA dull ''{domain}'' number {n}, caf\xe9." for n in range(count)]
    positive = [f"{n}\t1.25\tA  fine {domain} number {n}." for n in range(count)]
    again = [line.replace("-2.5", "3.5") for line in negative[:repeated]]
    others = ["7\t0.4\tSo so.", "8\t-0.9\tNot good."]
    return "\n".join([*negative, *positive, *again, *others]).encode("latin-1")


def reviews_archive(folder, **changed):
    """The source distribution of vaderSentiment, as far as it is read. changed: what a domain's file holds instead."""
    files = {domain: rated(domain, *counts) for domain, counts in RATED.items()} | changed
    inner = packed({f"hutto_ICWSM_2014/{DOMAINS[domain]}_GroundTruth.txt": text for domain, text in files.items()})
    path = folder / ARCHIVE
    path.write_bytes(packed({INNER: inner}))
    return path


def word_lists(folder):
    """A list of words for each language, as Debian has them: 100 or so of its own, and what must be left out."""
    for number, (_, file, encoding) in enumerate(LANGUAGES.values()):
        own = [f"{chr(97 + number)}{a}{b}{c}wort" for a in "abcd" for b in "efgh" for c in "ijklm"]
        text = "\n".join([*own, "shared" * 2, "kurz", "Ümlaut's", f"Zorn{chr(97 + number)}ésig"])
        (folder / file).write_text(text + "\n", encoding=encoding)


def gguf_model(file):
    """A tiny Llama with random weights in a file of GGUF, with a tokenizer of bytes."""
    from gguf import GGUFWriter

    own = tokenizer()
    special = ["<|endoftext|>", "<s>", "</s>"]  # transformers would add the first one
    words = [*sorted(own.get_vocab(), key=own.get_vocab().__getitem__), *special]
    merges = [" ".join(merge) for merge in json.loads(own.backend_tokenizer.to_str())["model"]["merges"]]
    width, inner, layers = 32, 48, 2
    writer = GGUFWriter(file, "llama")
    for name, value in {
        "name": "tiny",
        "block_count": layers,
        "context_length": 96,
        "embedding_length": width,
        "feed_forward_length": inner,
        "head_count": 2,
        "head_count_kv": 2,
        "vocab_size": len(words),
        "layer_norm_rms_eps": 1e-5,
        "tokenizer_model": "gpt2",
        "token_list": words,
        "token_types": [1] * len(words),
        "token_merges": merges,
        "bos_token_id": len(words) - 2,
        "eos_token_id": len(words) - 1,
    }.items():
        getattr(writer, f"add_{name}")(value)
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
