"""Steps and losses as graphs: traced once, compiled, run with little Python."""
