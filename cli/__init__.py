"""Command line of mm-milvus."""
