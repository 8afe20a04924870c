"""Image classifiers of transformers as learners: made fresh, loaded, trained, and left where others can load them."""

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from PIL import ExifTags, Image
from pydantic import ValidationError
from torch import nn
from torch.optim import AdamW
from transformers import AutoImageProcessor, AutoModelForImageClassification, get_wsd_schedule, pipeline

from dp_base.errors import MissingError
from dp_real.data.examples import Task
from dp_real.data.sets.images import read_image
from dp_real.evaluate.card import OPENED
from dp_real.learners import ConvConfig, TransformersConfig
from dp_real.learners.models.network import rate_factor
from dp_real.learners.models.preprocess import preprocess_of
from dp_real.learners.models.saved import restored
from dp_real.learners.section import TrainingConfig
from tests.dp_real.runs.folders import same_tensors, set_keys
from tests.refusals import refusal

SIZES = {"patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TINY = SIZES | {"intermediate_size": 16}
CLASSES = ("cat", "dog", "emu")
TASK = Task((3, 16, 16), CLASSES)
MEAN = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.4, 0.25]}
TRAINING = TrainingConfig(steps=4, learning_rate=0.01, ema_decay=0.5)


def section(**values):
    return TransformersConfig(kind="transformers", **values)


def learner(config, shape=(3, 16, 16), classes=CLASSES, **task):
    return config.fresh(Task(shape, classes, **task), TRAINING, seed=0)


def train(student, steps=2):
    x = pictures(6, *student.task.sample_shape)
    for _ in range(steps):
        student.train_step(x, torch.tensor([0, 1, 2] * 2))


def pictures(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A learner after two steps, and the folder where it was saved."""
    student = learner(section(config=TINY))
    train(student)
    folder = tmp_path_factory.mktemp("learner")
    student.save(folder)
    return student, folder


def test_a_fresh_one_is_a_function_of_its_seed():
    first, again, other = (section(config=TINY).fresh(TASK, TRAINING, seed).tensors() for seed in (0, 0, 1))
    assert same_tensors(first, again)  # what was drawn before does not matter
    assert not same_tensors(first, other)


def test_weights_that_no_logit_hangs_on_are_left_alone():
    """With several processes they would have a gradient of zeros, and weight decay would shrink them."""
    drawn = torch.get_rng_state()
    student = learner(section(architecture="dinov2", config=SIZES))
    assert torch.get_rng_state().equal(drawn)
    frozen = [name for name, weight in student.module.named_parameters() if not weight.requires_grad]
    assert frozen == ["model.dinov2.embeddings.mask_token"]
    train(student)
    assert all((weight.grad is None) != weight.requires_grad for weight in student.parameters)


@pytest.mark.parametrize("resize", [0, 24])
def test_its_processor_shows_pictures_as_they_were_validated(resize, tmp_path):
    folder = tmp_path / "learner"
    learner(section(config=TINY), resize=resize).save(folder)
    rows, columns = np.mgrid[0:60, 0:40]
    picture = Image.fromarray(np.stack([4 * rows, 6 * columns, 2 * (rows + columns)], 2).astype(np.uint8))
    picture.save(tmp_path / "a.png")
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    theirs = processor(picture, return_tensors="pt")["pixel_values"][0]
    ours = read_image(tmp_path / "a.png", 16, 3, resize) / 127.5 - 1
    assert theirs.shape == ours.shape
    assert (theirs - ours).abs().max() < 2.5 * 2 / 255  # rounded at other places


def test_others_see_odd_pictures_as_it_was_judged(tmp_path):
    """With the lines of the card, the library's pipeline answers as the learner does, whatever the picture."""
    rows, columns = np.mgrid[0:16, 0:16]
    smooth = np.stack([(7 * rows + step * columns) % 256 for step in range(1, 5)], 2).astype(np.uint8)
    colours = Image.fromarray(smooth[..., :3])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    odd = {
        "alpha.png": (Image.fromarray(smooth), {}),
        "palette-alpha.gif": (colours.quantize(16), {"transparency": 3}),
        "bits16.png": (Image.fromarray(smooth[..., 0].astype(np.uint16) * 257), {}),
        "exif.jpg": (colours, {"exif": exif}),
        "cmyk.jpg": (colours.convert("CMYK"), {}),
    }
    student = learner(section(config=TINY | {"initializer_range": 0.5}))
    student.save(tmp_path)
    scope = {}
    exec(OPENED.format(task="image-classification").replace("LEARNER", str(tmp_path)).rpartition("\n")[0], scope)
    for name, (picture, options) in odd.items():
        picture.save(tmp_path / name, **options)
        ours = student.logits(read_image(tmp_path / name, 16, 3)[None] / 127.5 - 1)[0]
        answer = scope["classify"](scope["opened"](tmp_path / name), function_to_apply="none")
        theirs = {row["label"]: row["score"] for row in answer}
        assert [theirs[name] for name in CLASSES] == pytest.approx(ours.tolist(), abs=0.05), name


RESNET = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}


@pytest.mark.parametrize(("architecture", "sizes"), [("vit", TINY), ("resnet", RESNET)])
def test_a_grey_learner_answers_in_the_librarys_own_pipeline(architecture, sizes, tmp_path):
    """The pipeline makes three channels of every image, so the saved model takes three."""
    grey = section(architecture=architecture, config=sizes)
    student = learner(grey, (1, 16, 16))
    train(student, 1)
    student.save(tmp_path)
    classify = pipeline("image-classification", model=str(tmp_path))
    drawn = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for pixels in (drawn[..., :1], drawn):
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
        expected = student.logits(x).softmax(1)[0].tolist()
        found = {row["label"]: row["score"] for row in classify(Image.fromarray(pixels.squeeze()))}
        assert [found[name] for name in CLASSES] == pytest.approx(expected, abs=1e-5)

    again = learner(grey, (1, 16, 16))
    again.load(tmp_path)
    x = pictures(4, 1, 16, 16)
    assert again.logits(x).equal(student.logits(x))  # to the last bit, so that a run read again says the same


def test_a_folder_is_where_others_load_it_and_another_learner_starts(trained, tmp_path):
    student, folder = trained
    x, known = pictures(4, 3, 16, 16), section(model=str(folder))
    model = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)
    assert model(pixel_values=x).logits.allclose(student.logits(x), rtol=0, atol=1e-6)
    assert not student.logits(x).equal(student.module.eval()(x))  # the average answers
    again, fresh = learner(known), learner(section(config=TINY))
    fresh.load(folder)
    assert again.logits(x).equal(student.logits(x))
    assert fresh.logits(x).equal(student.logits(x))

    four, same = (learner(known, classes=(*CLASSES, "fox")).logits(x) for _ in range(2))
    assert four.equal(same)  # with a fresh last layer, seeded
    assert learner(known, (1, 24, 24)).logits(pictures(2, 1, 24, 24)).shape == (2, 3)

    task, x = Task((3, 24, 24), CLASSES, resize=30), pictures(4, 3, 24, 24)
    first = known.fresh(task, TRAINING, seed=0)
    first.save(tmp_path)  # its processor shows others the middle of a picture, which x is already
    assert restored(known, task, TRAINING, tmp_path).logits(x).equal(first.logits(x))


def test_images_are_normalised_as_the_model_expects(trained, tmp_path):
    """At its size, by the filter, mean and deviation of its own processor, for pixels in [0, 1]."""
    folder = shutil.copytree(trained[1], tmp_path / "model")
    file = folder / "preprocessor_config.json"
    set_keys(file, **MEAN)
    mean, std = MEAN.values()
    known = section(model=str(folder))
    module = known.classifier(TASK)
    x = pictures(2, 3, 24, 24)
    small = nn.functional.interpolate(x, (16, 16), mode="bicubic", antialias=True)
    pixels = torch.stack([((small[:, i] + 1) / 2 - mean[i]) / std[i] for i in range(3)], 1)
    torch.testing.assert_close(module(x), module.model(pixel_values=pixels).logits)

    file.write_text('{"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": true}')
    with refusal("orders channels differently from red, green, blue"):
        known.classifier(TASK)
    file.unlink()
    with refusal("no preprocessor_config", MissingError) as told:
        known.classifier(TASK)
    (advised,) = re.findall("{.*}", str(told.value))
    file.write_text(advised.replace("R, G, B", "0.5, 0.5, 0.5"))
    assert known.classifier(TASK)(x).shape == (2, 3)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ViT", {"size": {"height": 20, "width": 28}}),
        ("ViT", {"do_normalize": False, "do_resize": False}),
        ("CLIP", {"size": {"shortest_edge": 30}, "crop_size": 24}),
        ("Siglip", {}),
        ("ConvNext", {"size": {"shortest_edge": 28}, "crop_pct": 0.7}),
        ("ConvNext", {"size": {"shortest_edge": 384}}),
        ("PoolFormer", {"size": {"shortest_edge": 28}, "crop_size": 28}),
        ("EfficientNet", {"size": {"height": 28, "width": 28}, "include_top": True}),
        ("DeiT", {"size": {"height": 32, "width": 32}, "crop_size": 28}),
        ("Levit", {"size": {"shortest_edge": 28}, "crop_size": 28}),
    ],
)
def test_images_are_prepared_as_by_the_processor(kind, options):
    """Size, middle, filter and normalisation, at another size and shape than the model's own configuration says."""
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**MEAN | options)
    rows, columns = np.mgrid[0:100, 0:150]
    picture = np.stack([2 * rows, columns, 100 + 50 * np.sin(rows / 9)], 2).astype(np.uint8)
    vision = SimpleNamespace(image_size=(100, 150))  # as CLIP's configuration has it
    model = SimpleNamespace(name_or_path="", config=SimpleNamespace(vision_config=vision))
    x = torch.from_numpy(picture / 127.5 - 1).float().permute(2, 0, 1)[None]
    ours = preprocess_of(model, processor)(x)
    theirs = processor(images=[picture], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ours, theirs.float(), atol=0.05, rtol=0)
    if kind == "CLIP":  # torchvision's weights.transforms() of the same sizes, which can be given of any module
        sizes = {"resize_size": [30], "crop_size": [24], "interpolation": SimpleNamespace(value="bicubic")}
        preset = SimpleNamespace(**sizes, mean=MEAN["image_mean"], std=MEAN["image_std"])
        assert preprocess_of(nn.Identity(), preset)(x).equal(ours)


def test_a_shorter_side_without_a_crop_is_the_size_of_square_images():
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, do_center_crop=False)
    assert preprocess_of(nn.Identity(), processor, 16).size == (32, 32)


def test_what_nothing_is_known_of_is_given_images_as_they_are_and_that_is_told(caplog):
    x = pictures(2, 3, 8, 8)
    for _ in range(2):
        assert preprocess_of(nn.Bilinear(1, 1, 1))(x).equal(x)
    assert [record.message for record in caplog.records] == [
        "Bilinear: how its images are normalised is unknown; it gets them unchanged, in [-1, 1]. For others give "
        "processor= to guide, preprocess= to Practice"
    ]
    with refusal(r"gives \[3, 256, 768\]: should be images"):
        preprocess_of(SimpleNamespace(name_or_path="", config=None), transformers.Siglip2ImageProcessorPil())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"architecture": "vitt"}, "learner.architecture = 'vitt': .* did you mean vit?"),
        ({"config": {"id2label": {0: "a"}}}, "learner.config.id2label: leave it out; the classes are the task's"),
        ({"config": {"patchsize": 3}}, "unknown key learner.config.patchsize of vit; did you mean patch_size?"),
        ({"config": {**TINY, "patch_size": "big"}}, "learner.config: vit cannot be made of these sizes"),
    ],
)
def test_sizes_that_do_not_work(values, message):
    with refusal(message):
        learner(section(**values))


def test_what_it_cannot_learn():
    vectors = Task((64,), CLASSES)
    for kind in (section(config=TINY), ConvConfig(kind="conv")):
        with refusal(r"takes images.*\[64\]"):
            kind.fresh(vectors, TRAINING, seed=0)
    with refusal("each halves the image of 16 x 16 pixels: give fewer"):
        ConvConfig(kind="conv", widths=(8,) * 5).fresh(TASK, TRAINING, seed=0)
    with pytest.raises(ValidationError, match="config is for a fresh model; model = 'a/b' has its own sizes"):
        section(model="a/b", config=TINY)


def test_weights_that_are_not_there(trained, tmp_path):
    (tmp_path / "config.json").write_bytes((trained[1] / "config.json").read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")  # a pickle is not read
    with refusal("with safetensors", MissingError):
        learner(section(model=str(tmp_path)))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with refusal("no AutoModelForImageClassification could be read"):
        learner(section(model=str(tmp_path)))


@pytest.mark.parametrize(("warmup", "cooldown", "last"), [(0, 0, 5), (3, 7, 20), (1, 19, 20)])
def test_the_learning_rate_is_that_of_transformers(warmup, cooldown, last):
    theirs = get_wsd_schedule(AdamW([nn.Parameter(torch.ones(1))], lr=1.0), warmup, cooldown, last).lr_lambdas[0]
    for step in range(last + 3):
        assert rate_factor(step, warmup=warmup, cooldown=cooldown, last=last) == theirs(step)


def test_a_branch_in_warmup_cools_down_from_the_rate_it_has_reached():
    rates = [rate_factor(step, warmup=10, cooldown=4, last=9) for step in range(10)]
    assert rates[:6] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert rates[6] < rates[5]
    assert rates[7] == pytest.approx(0.25)
    assert rates[9] == 0
