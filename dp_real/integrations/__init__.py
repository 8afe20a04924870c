"""Practice in the training programs of other libraries, a module for each."""
