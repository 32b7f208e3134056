"""Log-probabilities and divergences, in nats.

A likelihood returns one value per entry, so that the caller chooses what to sum: over genes for a cell, over cells for
a data set. Constants stay in, so that values compare with other libraries. The multinomial is the exception that its
definition asks for: its entries are not independent, and it returns one value per cell.
"""

from course_lib.likelihoods.categorical import log_bernoulli, log_categorical, log_multinomial
from course_lib.likelihoods.counts import log_nb_positive, log_poisson, log_zinb_positive
from course_lib.likelihoods.gaussian import kl_normal, kl_standard_normal, log_gaussian

__all__ = [
    "kl_normal",
    "kl_standard_normal",
    "log_bernoulli",
    "log_categorical",
    "log_gaussian",
    "log_multinomial",
    "log_nb_positive",
    "log_poisson",
    "log_zinb_positive",
]
