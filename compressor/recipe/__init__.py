"""Recipes: `reading` parses them, `course` checks them, `stages` knows what each kind runs, `store` keeps what is
finished, and `run` goes through them in order.
"""
