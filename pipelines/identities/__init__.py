"""What `group` decides with: who is who in a whole face table (persons), a second network's embeddings (second_look),
the identities of the run before (previous), and the sides that persons go to (splits).
"""
