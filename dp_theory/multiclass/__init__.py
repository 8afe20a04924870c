"""Softmax regression with K classes on rows that a selector of K classes chose."""
