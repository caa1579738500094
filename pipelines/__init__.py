"""Verbs over many rows, with Ray Data; import them from their modules, so that a feed worker loads no network.

    pipelines.ingest.ingest -> pipelines.find_faces.find_faces -> pipelines.group.group -> pipelines.shards.shards
    pipelines.feed.batches   what training reads       pipelines.stage.dropped   what did not go on, and why

A workspace: photos/ faces/ identities/ index/ dataset/<manifest id>/ dropped/<stage>/ done/
"""
