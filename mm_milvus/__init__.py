"""Multimodal product search on Milvus."""
