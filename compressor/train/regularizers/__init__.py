"""What is added to training so that the cut costs less: decay and decorrelation of departing filters."""
