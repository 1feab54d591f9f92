"""A made-up paper: two sources, two targets, no noise, no diffusion. What a method must bring, and
nothing else; ``Testing/library/methods/test_toy_paper.py`` puts it into the catalogue.
"""
