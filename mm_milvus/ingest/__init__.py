"""The embedding worker: catalog rows become vectors and attributes in Milvus.

prepare                 before the first row: catalog, collection, means
items, plan             a row -> its text, hashes and pictures; what of it has changed
batches, slots          changed items in batches; identical pictures and texts share a slot
pictures, lanes         where their bytes come from, and how many downloads of one host run at a time
encode                  slots -> vectors
writer                  vectors -> rows in Milvus
tally                   counts, seconds and rejects
sync, verify            what is stored and not in the catalog, and the other way round
worker                  all of it behind ``run``
"""

from mm_milvus.ingest.prepare import Preview, open_source, open_target, preview
from mm_milvus.ingest.tally import CountedWaits
from mm_milvus.ingest.verify import verify
from mm_milvus.ingest.worker import check_rejects, run

__all__ = [
    "CountedWaits",
    "Preview",
    "check_rejects",
    "open_source",
    "open_target",
    "preview",
    "run",
    "verify",
]
