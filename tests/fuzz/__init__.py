"""Made-up input for every parser that reads what a stranger writes; FUZZ is the number of inputs for each."""
