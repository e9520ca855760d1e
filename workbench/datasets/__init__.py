"""Data to train on: embedded, generated, or fetched once.

=====================  =======================================  ===================
``digits``             8x8 handwritten digits                   embedded
``mnist_subset``       28x28 handwritten digits, 5,000 + 1,000  embedded
``mnist``              the same, 60,000 + 10,000                downloaded, cached
``shakespeare``        characters of one play                   embedded
``two_moons``          points in a plane, two classes           generated
``adding_problem``     sequences that ask for a long memory     generated
``expression_trees``   trees for recursive networks             generated
=====================  =======================================  ===================

Every function returns arrays of the caller's own: writing to them spoils nothing.
"""

from workbench.datasets.dataset import Dataset, batches
from workbench.datasets.embedded import Text, digits, mnist_subset, shakespeare
from workbench.datasets.full_mnist import cache_folder, mnist
from workbench.datasets.generators import Tree, adding_problem, expression_trees, two_moons
from workbench.datasets.idx import read_idx
from workbench.datasets.registry import Location, describe, load, names

__all__ = [
    "Dataset",
    "Location",
    "Text",
    "Tree",
    "adding_problem",
    "batches",
    "cache_folder",
    "describe",
    "digits",
    "expression_trees",
    "load",
    "mnist",
    "mnist_subset",
    "names",
    "read_idx",
    "shakespeare",
    "two_moons",
]
