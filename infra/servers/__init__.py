"""The servers beside a cluster: MLflow on Postgres, Prometheus and Grafana, on one machine for trying.

`up`, `down` and `status` (machine.py) start, end and look at them as processes of this user. The same for a team stands
in compose.yaml and kustomization.yaml; dashboards/ serves all three.
"""

from anchorface.infra.servers.machine import down, status, up
from anchorface.infra.servers.settings import Servers, default_folder

__all__ = ["Servers", "default_folder", "down", "status", "up"]
