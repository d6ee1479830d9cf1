"""Scoring over gRPC: `Scorer(GrpcTransport()).score({name: array}) -> array`. Never loads TensorFlow.

from client import GrpcTransport, Scorer

with Scorer(GrpcTransport("127.0.0.1:8001"), model="sim") as scorer:
    probability = scorer.score({"user_id": [7], "item_id_trgt": [3], ...})  # [B], float32
"""

from client.errors import (
    DataFileError,
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    OutputFileError,
    ScoringError,
    ServerError,
    ServerUnavailable,
)
from client.padding import left_pad
from client.ranking import Ranking
from client.retry import RetryPolicy
from client.scorer import Scorer
from client.tls import TlsFiles
from client.transport import GrpcTransport, ModelDescription, TensorDescription, Transport

__all__ = [
    "DataFileError",
    "DeadlineExceeded",
    "GrpcTransport",
    "InvalidInput",
    "ModelDescription",
    "ModelNotFound",
    "OutputFileError",
    "Ranking",
    "RetryPolicy",
    "Scorer",
    "ScoringError",
    "ServerError",
    "ServerUnavailable",
    "TensorDescription",
    "TlsFiles",
    "Transport",
    "left_pad",
]
