"""What is added to training so that a cut costs less. One method a file, and a line in ``config/choices.py``.

A method is a :class:`~compressor.train.regularizers.regularizer.Method`: a maker of what takes part in training, and
when it is decided which channels go.
"""
