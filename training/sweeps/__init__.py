"""Many runs of one recipe with some of its values varied, and the best of them: `run.sweep`."""
