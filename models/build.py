"""A system from its settings."""

from typing import TYPE_CHECKING

import anchorface.models.iconface.network
import anchorface.models.ip_fvr.network
import anchorface.models.rg_ipfr.network  # noqa: F401  ours; another module's is found once that is imported
from anchorface.models.adapter import Adapter
from anchorface.models.settings import SystemSettings, descendants
from anchorface.records import ConfigurationError

if TYPE_CHECKING:
    from diffusers import Flux2Transformer2DModel


def build(settings: SystemSettings, backbone: "Flux2Transformer2DModel", seed: int = 0) -> Adapter:
    """The system that these settings shape, with fresh adapters beside the backbone.

    Args:
        settings: of a system. backbone: which then belongs to the system. seed: of the adapters.

    Raises:
        ConfigurationError: no imported system has settings of this class.
    """
    for system in descendants(Adapter):
        if system.settings_type is type(settings):
            return system(backbone, settings, seed)
    raise ConfigurationError(f"no system takes {type(settings).__name__} ({settings.kind!r})")
