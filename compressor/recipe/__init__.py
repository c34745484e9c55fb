"""Recipes: `reading` parses them, `progress` checks them, `stages` knows what each kind runs, `store` keeps what is
finished, and `run` goes through them in order.
"""
