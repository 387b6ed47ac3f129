"""Studies with people: questions are made, asked and counted (paper, Section 4.6)."""
