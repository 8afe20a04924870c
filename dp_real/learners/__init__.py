"""Learners by kind. Each kind is a file here and a section of dp_real.config.config."""

from dp_real.config.config import Config, ConvConfig, LinearConfig, MLPConfig, TransformersConfig
from dp_real.data import class_names
from dp_real.learners.models.network import NetworkLearner, build_conv, build_mlp
from dp_real.protocols import Learner, Space


def fresh_learner(config: Config, space: Space) -> Learner:
    """The learner that a run of this configuration starts from."""
    match config.learner:
        case MLPConfig() as section:
            module = build_mlp(section, space.sample_shape, space.n_classes, config.seed)
            return NetworkLearner(module, space.n_classes, config.training, config.seed)
        case ConvConfig() as section:
            module = build_conv(section, space.sample_shape, space.n_classes, config.seed)
            return NetworkLearner(module, space.n_classes, config.training, config.seed)
        case TransformersConfig() as section:
            from dp_real.learners.models.classifier import ClassifierLearner, load_classifier

            module = load_classifier(section, space.sample_shape, class_names(config.data), config.seed)
            return ClassifierLearner(module, space.n_classes, config.training, config.seed)
        case LinearConfig() as section:
            from dp_real.learners.models.linear import LinearLearner

            return LinearLearner(section, space.sample_shape, space.n_classes)
