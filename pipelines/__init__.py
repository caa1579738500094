"""Verbs over many rows, with Ray Data; import them from their modules, so that a feed worker loads no network.

    pipelines.ingest.ingest -> pipelines.find_faces.find_faces -> pipelines.group.group -> pipelines.shards.shards
    pipelines.audit.audit                  pages for people           pipelines.erasure.erase.erase   out of everything
    pipelines.feed.batches.batches         what training reads
    pipelines.stages.stage.dropped         what did not go on, and why

Each verb stands on folders of its own: `sources/` (ingest), `faces/` (find_faces), `identities/` (group), `versions/`
(shards, erase), `erasure/` (erase), and all on `stages/`. `feed/` reads what they made; `calibration/` measures with
them. Imports go from verbs to folders, never back; only `calibration/` imports verbs.

A workspace: photos/ faces/ tracks/ identities/ index/ dataset/<manifest id>/ dropped/<stage>/ done/
"""
