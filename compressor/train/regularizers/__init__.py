"""What is added to training so that a cut costs less. One method a file, and a line in ``config/choices.py``.

The row of a method, a :class:`~compressor.train.regularizers.regularizer.RegularizerRow`, says what makes that which
takes part in training, and when it is decided which channels go.
"""
