"""Practice in the training programs of other libraries, one module for each."""
