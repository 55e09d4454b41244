"""`cloudmask label`: patch sets whose labels are not the mask that came with the scenes."""

from __future__ import annotations

from cloudmask.cli.options import LabelConfig
from cloudmask.labels import densities_command, unsupervised_command


def label(config: LabelConfig) -> int:
    """Label scenes by the method that `config` names; the exit code: 1 if a scene failed."""
    if config.method == "densities":
        if config.model is not None:
            raise ValueError("--model has no effect with --method densities; leave it out")
        return densities_command.label(config)
    if config.teacher != LabelConfig.teacher:
        raise ValueError("--teacher has no effect with --method unsupervised; leave it out")
    return unsupervised_command.label(config)
