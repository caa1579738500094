"""What Kubernetes is asked for, as dictionaries made by pure functions; `base/` is what a namespace needs before."""
