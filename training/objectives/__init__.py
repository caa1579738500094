"""What is learned: an objective is a frozen setting that is called on a prediction; a recipe holds a tuple of them.

    flow.Flow                  the velocity itself
    identity.Identity          who the decoded one-step estimate looks like
    hard_example.HardExample   the same, pulled to the target and, as a harder example, to the reference
    feedback.Feedback          who sampled frames look like, decoded from a late step of the sampler

A new objective is a new file: a frozen dataclass with a `kind` and a `__call__` as `prediction.Objective` says.
"""
