"""What `group` decides with: who is who in a whole face table (persons), faces of films linked to tracks (tracks), a
second network's embeddings (second_look), the identities of the run before (previous), and the sides that persons go to
(splits).
"""
