"""README.md is part of the product: what it says is run, and compared with the code."""
