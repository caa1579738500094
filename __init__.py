"""anchorface: from a heap of photographs to a trained, judged, reference-aware face restorer.

Its rooms are the folders at the top level of the repository, imported as `anchorface.records`, `anchorface.faces`, ...

Whoever imports any of them has switched off what the engines below report to their makers, since what is done here is
done to pictures of people; a variable that is set already stays as it is.
"""

import os

REPORTS = {"ORT_DISABLE_TELEMETRY": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_DISABLE_TELEMETRY": "1",
           "RAY_USAGE_STATS_ENABLED": "0", "NO_ALBUMENTATIONS_UPDATE": "1"}
for _name, _value in REPORTS.items():
    os.environ.setdefault(_name, _value)
