"""How a verb is carried out over many rows: a stage of parts that can be stopped anywhere (stage), what a person sees
of it (progress), and the Ray that does the work (cluster).
"""
