"""What a checkpoint of a run says before its first step."""

from anchorface.models.checkpoint import Description
from anchorface.records.addresses import all_redacted, redacted
from anchorface.training.job import Job
from anchorface.training.networks import base_weights, norm_calibration
from anchorface.training.record import start_of_chain


def fresh(job: Job, world: int) -> Description:
    """The description at position 0, carried out by `world` ranks."""
    recipe, calibration = job.recipe, norm_calibration(job.recipe)
    extra = {
        "shaping": recipe.shaping(), "execution": job.execution.to_dict() | {"workers": world},
        "norm_calibration": calibration.to_json() if calibration else None,
        "mlflow": {"uri": job.tracking.uri, "run_id": job.tracking.run_id} if job.tracking else {},
    }
    if job.start:
        extra["start"] = redacted(job.start)
    return Description(
        model=recipe.model, weights=base_weights(recipe), embedder=recipe.embedder, anchor=recipe.anchor,
        base_precision=recipe.base_precision, recipe=all_redacted(recipe.to_dict()), manifest_id=job.manifest_id,
        digest=start_of_chain(recipe, job.manifest_id), git=job.git, extra=extra,
    )
