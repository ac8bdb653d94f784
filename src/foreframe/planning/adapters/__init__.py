"""Models of foreframe as other people's planners call theirs; none of their packages is needed."""
