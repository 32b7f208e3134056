"""From autoencoders to scVI: the small library that the book's chapters import.

Data flows one way: counts -> normalise -> model -> loss -> fit -> embed and plot -> differential expression.
The modules stand in that order; none imports one that comes later.
"""

__version__ = "0.1.0"
