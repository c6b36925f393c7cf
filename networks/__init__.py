"""The networks beside the two that stand at the top, what they are built from, and trained ones read from disk."""
