"""MUSIQ, CLIP-IQA, MANIQA and Q-Align through pyiqa, which a user installs knowingly: `anchorface[noncommercial]`.

pyiqa and most of its weights may not be used commercially, and it fetches weights at run time. It needs a torchvision
that was built for the installed torch.
"""

from collections.abc import Callable

import numpy as np
import torch

from anchorface.evaluation.metrics.pixels import at_once
from anchorface.records import WeightsError

LICENCE = "PolyForm-Noncommercial-1.0.0; weights for research"


def quality(name: str, device: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A metric of pyiqa that looks at a picture alone.

    Raises:
        WeightsError: pyiqa is not installed, or cannot make the metric here.
    """
    try:
        import pyiqa
    except (ImportError, RuntimeError) as error:
        raise WeightsError(f"pyiqa cannot be imported ({error}); where its licence ({LICENCE}) allows it: pip install "
                           "'anchorface[noncommercial]', with a torchvision built for the installed torch") from error
    try:
        metric = pyiqa.create_metric(name, device=torch.device(device))
    except Exception as error:  # pyiqa's metrics raise what their libraries raise
        raise WeightsError(f"pyiqa {name}: {error}") from error

    def values(images: np.ndarray, _: np.ndarray) -> np.ndarray:
        found = [np.zeros(0)]
        with torch.inference_mode():
            several = at_once(images)
            for start in range(0, len(images), several):
                part = torch.from_numpy(np.ascontiguousarray(images[start:start + several])).to(device)
                found.append(metric(part.permute(0, 3, 1, 2).float() / 255).flatten().double().cpu().numpy())
        return np.concatenate(found)

    return values
