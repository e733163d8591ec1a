"""Draw, correct, fold: the contract that every estimator and every front share."""
