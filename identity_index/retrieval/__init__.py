"""Which photo helps which: policies, gaps, exclusions, the choice of references, asked against achieved shares."""
