"""Adobe's mapping language as it is written: expressions, paths, mapping sets, and what is wrong in them."""
