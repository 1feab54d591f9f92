"""MambaSynthLib: named source volumes go in, named synthetic volumes come out.

Importing the package loads NumPy and nothing heavier; torch, SimpleITK and the rest are imported
inside the files that need them, when they are needed.
"""

__version__ = "0.1.0"
