"""Who is who: neighbours, average linkage under constraints, human decisions, doubts, near-duplicates."""
