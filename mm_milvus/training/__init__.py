"""Training of fusion heads on a shop's own pairs of queries and products, or on its catalog alone.

settings            what a user decides, and what is told afterwards
data, pairs         the products of a collection, and a file of pairs
catalog             pairs made from the products themselves
encode, views       query texts and pictures -> vectors, once
source              what every training reads of these, and whose run it is
start, model        the weights before the first step, and the network in torch
losses, mining      what is minimised, and which products make it hard
nearest, measure    exact search by the current head, nDCG@10
significance        whether a difference may be chance
ridge               a bridge between words and pictures in closed form
loop, checkpoint    epochs, early stopping, going on after an interruption
pictures, contents  --unfreeze: prepared pictures in a file; what products and queries are made of
finetune, unfrozen  and the training of an encoder's last layers, which ends in an encoder of its own
late, late_tokens,  the reranker ``late-interaction``: a projection of token vectors
late_model
report              what every training tells
folder              what is in the folder of a training before and afterwards
run                 all of it behind ``train``

Importing it loads no torch.
"""

from mm_milvus.training.run import train
from mm_milvus.training.settings import Step, TrainReport, TrainSettings, UnfrozenReport

__all__ = ["Step", "TrainReport", "TrainSettings", "UnfrozenReport", "train"]
