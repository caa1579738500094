"""RG-IPFR: a composite context of the reference's face beside a frozen FLUX.2 transformer, and its guidance."""
