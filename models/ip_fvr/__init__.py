"""IP-FVR: time, and decoupled attention to references and attributes, beside a frozen FLUX.2 transformer; how a film's
clips are blended, and what they are guided away from.
"""
