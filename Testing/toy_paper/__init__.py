"""A made-up paper: two sources, two targets, no noise, no diffusion. What a method must bring, and
nothing else: here the library's part, in ``training`` the training's.
The tests ``test_toy_paper`` of the library and ``test_toy_paper_training`` put it into the
catalogues.
"""
