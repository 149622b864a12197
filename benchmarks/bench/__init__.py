"""What ``benchmarks/ingest.py`` measures.

table      goals, measured values, and the Markdown file that shows both
machine    what it was measured on
catalogs   catalogs of any size from real photos
context    what the measurements share: options, models, a folder, a clock
sinks      a collection that drops what it is given, and a Milvus Lite one
forward    the bare model, and what decoding costs
naive      the loop of a tutorial
rates, pictures, packing, repeats, memory, dtypes    the measurements
"""
