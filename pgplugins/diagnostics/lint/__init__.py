"""``lint``: sees mistakes in gradient estimators while a program runs."""
