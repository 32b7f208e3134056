"""Models, one idea a file. Each is an ``nn.Module`` with ``loss(minibatch, kl_weight=1.0) -> Loss``."""

from course_lib.models.autoencoder import Autoencoder, GeneExprAE, LinearAE, P1B1GeneExpressionAE
from course_lib.models.base import Loss, Minibatch
from course_lib.models.deep import DeepAutoencoder
from course_lib.models.linear import PPCA, LinearVAE
from course_lib.models.logistic_pca import LogisticPCA
from course_lib.models.rbm import RBM, unroll
from course_lib.models.scvi import SimpleScVI
from course_lib.models.sparse import SparseAE
from course_lib.models.vae import GeneExprVAE, VariationalAutoencoder

__all__ = [
    "PPCA",
    "RBM",
    "Autoencoder",
    "DeepAutoencoder",
    "GeneExprAE",
    "GeneExprVAE",
    "LinearAE",
    "LinearVAE",
    "LogisticPCA",
    "Loss",
    "Minibatch",
    "P1B1GeneExpressionAE",
    "SimpleScVI",
    "SparseAE",
    "VariationalAutoencoder",
    "unroll",
]
