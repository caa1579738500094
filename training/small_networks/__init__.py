"""The small networks that the repository carries, and how each was trained:

    python -m anchorface.training.small_networks <network>
"""
