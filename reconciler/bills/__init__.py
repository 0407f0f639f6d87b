"""Bills of providers: what they charged, by model and day, against what the books hold of it."""
