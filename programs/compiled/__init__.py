"""A compiled program's prompts, and the predictors that an optimizer works on."""
