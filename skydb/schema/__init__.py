"""Tables declared as data, and what is generated from the declarations."""
