"""The oracle: decides from the text of the design what must be stored, and compares the stores with it.

Plain Python on purpose, and none of the product's own validator or state: what it shares with the product is only what
it is asked to check (tables, topics, stored model versions).
"""
