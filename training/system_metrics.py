"""What a node is doing, under the names of MLflow's own system metrics (`system/NODE/...`), so that its pages draw it.

In: a node's number, the run folder, a GPU. Out: name -> number at each call: percentages 0..100, sizes in MB (10^6
bytes), network since the last call. MLflow's monitor is a thread in every worker that speaks to MLflow itself; this is
a sample at each log line, and goes through the spool.
"""

from contextlib import suppress

import psutil
import torch

MB = 1e6


class SystemMetrics:
    """Samples of this node.

    Args:
        node: its number among the run's. folder: a local folder, whose disk is told; a URI: none is.
        device: the worker's.
    """

    def __init__(self, node: int, folder: str, device: torch.device) -> None:
        self.prefix, self.folder, self.device = f"system/{node}/", folder, device
        self.process = psutil.Process()
        psutil.cpu_percent()  # the first call of a process measures nothing
        self.network = psutil.net_io_counters()

    def sample(self) -> dict[str, float]:
        """The values now."""
        memory, network = psutil.virtual_memory(), psutil.net_io_counters()
        found = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / MB,
            "system_memory_usage_percentage": memory.percent,
            "worker_memory_usage_megabytes": self.process.memory_info().rss / MB,
        }
        if network is not None and self.network is not None:
            found["network_receive_megabytes"] = (network.bytes_recv - self.network.bytes_recv) / MB
            found["network_transmit_megabytes"] = (network.bytes_sent - self.network.bytes_sent) / MB
        self.network = network
        with suppress(OSError):  # a URI, or a disk that is away
            disk = psutil.disk_usage(self.folder)
            found["disk_usage_percentage"] = disk.percent
            found["disk_available_megabytes"] = disk.free / MB
        if self.device.type == "cuda":
            free, whole = torch.cuda.mem_get_info(self.device)
            number = self.device.index or 0
            found[f"gpu_{number}_memory_usage_megabytes"] = (whole - free) / MB
            found[f"gpu_{number}_memory_usage_percentage"] = 100 * (whole - free) / whole
            found[f"gpu_{number}_peak_memory_megabytes"] = torch.cuda.max_memory_reserved(self.device) / MB
        return {self.prefix + name: float(value) for name, value in found.items()}
